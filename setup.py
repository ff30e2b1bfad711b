"""Builds mmbas; what it is and needs stands in pyproject.toml.

A wheel also holds configs, tools and plans, as ``mmbas/.mim``, where MIM looks for them.
"""

import atexit
import shutil
import tempfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build import build
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent

# What a wheel holds as mmbas/.mim, where MIM and a user of the installed package find it.
MIM_FILES = ["model-index.yml", "configs/**/*.py", "tools/*.py", "tools/*.sh", "plans/**/*.yaml"]


class BuildOutsideTree(build):
    """Builds in a temporary folder: ``build/`` would hold files that were deleted since."""

    def initialize_options(self) -> None:
        """Set the folder to build in."""
        super().initialize_options()
        self.build_base = tempfile.mkdtemp(prefix="mmbas-build-")
        atexit.register(shutil.rmtree, self.build_base, ignore_errors=True)


class BuildWithMim(build_py):
    """Adds configs and tools to a wheel; an editable installation has them beside the package."""

    def run(self) -> None:
        """Copy the package, then configs and tools."""
        super().run()
        if self.editable_mode:
            return
        for pattern in MIM_FILES:
            for source in ROOT.glob(pattern):
                target = Path(self.build_lib) / "mmbas" / ".mim" / source.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)


setup(cmdclass={"build": BuildOutsideTree, "build_py": BuildWithMim})
