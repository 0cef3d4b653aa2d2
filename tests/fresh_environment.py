"""Virtual environments of their own, made in a second and without a package index."""

from __future__ import annotations

import os
import subprocess
import sysconfig
import venv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


def run_program(
    command: Sequence[str],
    cwd: Path,
    env: Mapping[str, str] | None = None,
    code: int = 0,
    stdin: str = "",
) -> str:
    """What a program printed; that it ends with another exit code is a failure of the test."""
    done = subprocess.run(command, cwd=cwd, env=env, input=stdin, capture_output=True, text=True)
    assert done.returncode == code, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Environment:
    """A virtual environment far from the checkout and from the user's settings."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Environment:
        """A new one, which takes what covary depends on from the environment of the tests.

        It does not see the checkout that is installed there: of a path in a .pth file the .pth
        files are ignored.
        """
        venv.create(folder, symlinks=True)
        site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
        (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
        # It compiles for half a minute in every new environment; torch gives the same result.
        (site / "numba.py").write_text("raise ImportError('left out of this environment')")
        return cls(folder)

    def install(self, *wheels: Path) -> None:
        """Install wheels alone, without their dependencies."""
        options = ("--no-deps", "--no-index", "--quiet", "--disable-pip-version-check")
        self.run("python", "-m", "pip", "install", *options, *wheels, cwd=self.folder)

    def run(self, *command: object, cwd: Path, code: int = 0, stdin: str = "") -> str:
        """What a program of this environment printed."""
        name, *arguments = map(str, command)
        program = [str(self.folder / "bin" / name), *arguments]
        return run_program(program, cwd, self._settings(), code, stdin)

    def _settings(self) -> dict[str, str]:
        settings = {k: v for k, v in os.environ.items() if not k.startswith(("COVARY_", "PYTHON"))}
        folders = {
            "XDG_CONFIG_HOME": self.folder / "config",
            "XDG_CACHE_HOME": self.folder / "cache",
        }
        return settings | {name: str(path) for name, path in folders.items()}
