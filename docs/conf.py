"""How the site is built: ``make docs``, which writes it to ``build/docs``."""

import sys
from pathlib import Path

import covary

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project = "covary"
version = release = covary.__version__
copyright = "the covary developers, Apache License 2.0"  # noqa: A001 (Sphinx's name for it)

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "docstrings",  # these two are in docs/_extensions
    "plain_pages",
]
exclude_patterns = ["_*", "generate"]

html_theme = "furo"
html_title = "covary"
html_static_path = ["_static"]
html_css_files = ["covary.css"]
html_show_sphinx = False
html_copy_source = False

smartquotes_action = "D"  # dashes; quotes stay as they were written
myst_heading_anchors = 3
# A copied block holds the commands alone, without the prompt.
copybutton_prompt_text = "$ "
copybutton_only_copy_prompt_lines = True

default_role = "code"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "exclude-members": "model_config"}
autodoc_typehints_format = "short"
autodoc_type_aliases = {
    "ArrayLike": "numpy.typing.ArrayLike",
    "Files": "covary.testing._data_sets.Files",
}
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 120
napoleon_numpy_docstring = False

# Every reference has to resolve, but those to private classes, and those into packages that this
# site does not hold: it is built without the network, and so without their inventories.
nitpicky = True
nitpick_ignore_regex = [
    ("py:class", r"covary\.(.*\.)?_\w+.*"),
    ("py:.*", r"(torch|np|numpy|hypothesis|st|PIL|Image|pydantic|pluggy|BaseModel|os)(\..*)?"),
    ("py:class", "Environment|Path|Marked|Tensor"),
    ("py:.*", r"(_pytest|collections|pathlib|abc|typing|datetime)\..*"),
]
