"""Installs mmbas. The hosts (mmengine, mmcv, mmpretrain, mmseg) come with the extra ``openmmlab``.

Two distributions provide these four import packages: the maintained one (``onedl-*``), which the
extra installs, and the original one. They are not required here, so that whoever has either of
them gets no second copy written over it.
"""

import atexit
import re
import shutil
import tempfile
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build import build
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent

# What a wheel holds as mmbas/.mim, where MIM and a user of the installed package find it.
MIM_FILES = ["model-index.yml", "configs/**/*.py", "tools/*.py", "tools/*.sh", "plans/**/*.yaml"]

OPENMMLAB = [
    "onedl-mmengine>=0.10.8",
    "onedl-mmcv>=2.3.0",
    "onedl-mmpretrain>=1.3.0",
    "onedl-mmsegmentation>=1.3.0",
    "torchvision>=0.16",
    "tensorboard",  # a visualizer backend of configs/default_runtime.py
    "matplotlib>=3.7",  # mmengine's; the gate report needs this version
]
EXPORT = ["onnx>=1.14", "onnxruntime>=1.16"]
BENCHMARK = [*EXPORT, "openvino>=2024.0"]  # the dense rivals of tools/benchmark_inference.py
QUICKSTART = ["scikit-learn>=1.3", "tensorboard"]
TEST = ["pytest>=7.4", "pytest-xdist>=3.3", "PyYAML", "setuptools>=64", "wheel", *EXPORT]
DEV = ["ruff", "mypy", "pre-commit"]
EXTRAS = {
    "openmmlab": OPENMMLAB,
    "export": EXPORT,
    "benchmark": BENCHMARK,
    "quickstart": QUICKSTART,
    "test": TEST,
    "dev": DEV,
}


def read_version() -> str:
    """Version string of ``mmbas/__init__.py``, read without importing the package."""
    text = (ROOT / "mmbas" / "__init__.py").read_text(encoding="utf-8")
    match = re.search(r"^__version__ = ['\"]([^'\"]+)['\"]", text, flags=re.MULTILINE)
    if match is None:
        raise RuntimeError("expected a line `__version__ = '...'` in mmbas/__init__.py, got none")
    return match.group(1)


def read_description() -> str:
    """The README as the long description, or nothing where a source tree lacks it."""
    readme = ROOT / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


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


setup(
    name="mmbas",
    version=read_version(),
    description="Channel gated networks trained with batch-shaping, as a plugin for OpenMMLab",
    long_description=read_description(),
    long_description_content_type="text/markdown",
    packages=find_packages(include=["mmbas", "mmbas.*"]),
    # Kernels that are compiled where they run, and the page of the gate report.
    package_data={"mmbas": ["**/*.cpp", "**/*.h", "**/*.cu", "**/*.html", "**/*.j2"]},
    cmdclass={"build": BuildOutsideTree, "build_py": BuildWithMim},
    python_requires=">=3.10",
    install_requires=["torch>=2.1", "numpy>=1.23", "scipy>=1.9"],
    extras_require=EXTRAS,
    zip_safe=False,
)
