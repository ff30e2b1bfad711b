"""Installs mmbas. The hosts (mmengine, mmcv, mmpretrain, mmseg) come with the extra ``openmmlab``.

Two distributions provide these four import packages: the maintained one (``onedl-*``), which the
extra installs, and the original one. They are not required here, so that whoever has either of
them gets no second copy written over it.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

OPENMMLAB = [
    "onedl-mmengine>=0.10.8",
    "onedl-mmcv>=2.3.0",
    "onedl-mmpretrain>=1.3.0",
    "onedl-mmsegmentation>=1.3.0",
    "torchvision>=0.16",
    "tensorboard",  # a visualizer backend of configs/default_runtime.py
]
QUICKSTART = ["scikit-learn>=1.3", "tensorboard"]
TEST = ["pytest>=7.4", "pytest-xdist>=3.3", "PyYAML"]
DEV = ["ruff", "mypy", "pre-commit"]


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


setup(
    name="mmbas",
    version=read_version(),
    description="Channel gated networks trained with batch-shaping, as a plugin for OpenMMLab",
    long_description=read_description(),
    long_description_content_type="text/markdown",
    packages=find_packages(include=["mmbas", "mmbas.*"]),
    python_requires=">=3.10",
    install_requires=["torch>=2.1", "numpy>=1.23", "scipy>=1.9"],
    extras_require={"openmmlab": OPENMMLAB, "quickstart": QUICKSTART, "test": TEST, "dev": DEV},
    zip_safe=False,
)
