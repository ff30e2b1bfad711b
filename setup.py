"""Builds mmbas; what it is and needs stands in pyproject.toml.

A wheel also holds configs, tools and plans, as ``mmbas/.mim``, where MIM looks for them, and the C
header. With ``MMBAS_WHEEL_LIBRARY=1`` (``make wheel``) it holds the compiled kernels too.
"""

import atexit
import os
import shutil
import sys
import tempfile
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build
from setuptools.command.build_py import build_py
from setuptools.dist import Distribution

ROOT = Path(__file__).resolve().parent
WITH_LIBRARY = os.environ.get("MMBAS_WHEEL_LIBRARY") == "1"

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
        package = Path(self.build_lib) / "mmbas"
        shutil.copytree(ROOT / "include", package / "include", dirs_exist_ok=True)
        if WITH_LIBRARY:
            sys.path.insert(0, str(ROOT))
            from mmbas.sliced.native.library import compile_for_wheel

            compile_for_wheel(package / "lib")


class PlatformDistribution(Distribution):
    """A distribution whose wheel fits one platform, though no module of Python is compiled."""

    def has_ext_modules(self) -> bool:
        """Tell whether the wheel is of one platform."""
        return WITH_LIBRARY


class WheelForAnyPython(bdist_wheel):
    """A wheel with the kernels fits every Python: they are no extension module."""

    def get_tag(self) -> tuple[str, str, str]:
        """Tags of Python, its binary interface and the platform."""
        python, abi, platform = super().get_tag()
        return ("py3", "none", platform) if WITH_LIBRARY else (python, abi, platform)


setup(
    cmdclass={
        "build": BuildOutsideTree,
        "build_py": BuildWithMim,
        "bdist_wheel": WheelForAnyPython,
    },
    distclass=PlatformDistribution,
)
