"""Builds the C part into the package when a wheel is made.

Everything else is in pyproject.toml.  An editable installation does not come here for
the C part: `make build` does that, and again when a source changes.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

from distutils.command.build_scripts import build_scripts  # isort: skip -- setuptools'

NATIVE = Path(__file__).parent / "native"
COMMAND = Path(__file__).parent / "build" / "native" / "softsgx"


class BuildWithNative(build_py):
    """Run native's Makefile before the package's files are gathered."""

    def run(self) -> None:
        """Build, then gather."""
        if not self.editable_mode:
            command = ["make", "-C", str(NATIVE), f"PYTHON={sys.executable}"]
            subprocess.run(command, check=True)  # noqa: S603 -- our own Makefile
        super().run()


class BuildCommand(build_scripts):
    """Add the command itself, which setuptools would take for a text."""

    def run(self) -> None:
        """Copy the script, and the program; while there is none, the script again."""
        super().run()
        script = Path(self.build_dir) / "softsgx-python"
        command = COMMAND if COMMAND.exists() else script
        shutil.copy(command, script.with_name(COMMAND.name))


class PlatformWheel(bdist_wheel):
    """A wheel for one platform and every Python: it holds no extension module."""

    def finalize_options(self) -> None:
        """Say that there is machine code inside."""
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self) -> tuple[str, str, str]:
        """Any Python, no ABI of Python's, this platform."""
        return "py3", "none", super().get_tag()[2]


setup(
    cmdclass={
        "build_py": BuildWithNative,
        "build_scripts": BuildCommand,
        "bdist_wheel": PlatformWheel,
    }
)
