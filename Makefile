# make demo    segment sixteen images with the bundled generator, from nothing
# make test    run the tests
# make lint    ruff and mypy
# make docs    build the documentation as a site, build/docs/index.html
# make acceptance   slow runs over many seeds
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Pinned here and not in pyproject.toml: this release has a small CPU build, where the newest
# would bring several gigabytes of CUDA libraries along.
TORCH := torch==2.13.0

.PHONY: demo test lint docs acceptance clean

demo: $(VENV)/.installed
	$(BIN)/covary segment 0-15 --preset avatars -o out/demo

test: $(VENV)/.installed-dev
	$(BIN)/pytest -n 2 --dist loadgroup -m "not acceptance"

acceptance: $(VENV)/.installed-dev
	$(BIN)/pytest -m acceptance

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed-dev
	$(BIN)/sphinx-build --quiet --fresh-env --fail-on-warning --keep-going docs build/docs

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "covary needs Python 3.11 or newer: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH) -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH) -e ".[dev]"
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) out .pytest_cache .mypy_cache .ruff_cache .hypothesis
