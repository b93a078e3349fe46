"""Builds the C part into the package when a wheel is made.

Everything else is in pyproject.toml.  An editable installation does not come here for
the C part: `make build` does that, and again when a source changes.
"""

import subprocess
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

NATIVE = Path(__file__).parent / "native"


class BuildWithNative(build_py):
    """Run native's Makefile before the package's files are gathered."""

    def run(self) -> None:
        """Build, then gather."""
        if not self.editable_mode:
            command = ["make", "-C", str(NATIVE), f"PYTHON={sys.executable}"]
            subprocess.run(command, check=True)  # noqa: S603 -- our own Makefile
        super().run()


class PlatformWheel(bdist_wheel):
    """A wheel for one platform and every Python: it holds no extension module."""

    def finalize_options(self) -> None:
        """Say that there is machine code inside."""
        super().finalize_options()
        self.root_is_pure = False

    def get_tag(self) -> tuple[str, str, str]:
        """Any Python, no ABI of Python's, this platform."""
        return "py3", "none", super().get_tag()[2]


setup(cmdclass={"build_py": BuildWithNative, "bdist_wheel": PlatformWheel})
