"""What is imported is declared, and what packaging names exists; read from the sources."""

import ast
import re
import sys
from pathlib import Path

import pytest
from source_tree import ROOT, arrows

if sys.version_info < (3, 11):
    pytest.skip("Python 3.10 reads no TOML", allow_module_level=True)

import tomllib

# Distributions whose import package has another name; hosts come by either of two names.
DISTRIBUTION_OF = {
    "cv2": "opencv-python",
    "jinja2": "Jinja2",
    "PIL": "pillow",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
    "mmengine": "onedl-mmengine",
    "mmcv": "onedl-mmcv",
    "mmpretrain": "onedl-mmpretrain",
    "mmseg": "onedl-mmsegmentation",
}
WITH_TORCH = {"triton"}  # comes with torch's wheels where it can run
OWN = {"mmbas"}


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def declared():
    """Names of all required and optional distributions, in lower case."""
    settings = project()
    lists = [settings["dependencies"], *settings["optional-dependencies"].values()]
    return {re.match(r"[\w.-]+", entry)[0].lower() for entries in lists for entry in entries}


def imported(folder):
    """Third-party packages that the Python files of a folder import, with one file each."""
    found = {}
    for path in sorted((ROOT / folder).rglob("*.py")):
        for arrow in arrows(ast.parse(path.read_text(encoding="utf-8"))):
            found.setdefault(arrow.target.split(".")[0], path.relative_to(ROOT))
    known = set(sys.stdlib_module_names) | OWN | WITH_TORCH
    return {name: path for name, path in found.items() if name not in known}


@pytest.mark.parametrize("folder", ["mmbas", "tools", "demo", "benchmarks"])
def test_every_package_that_is_imported_is_declared(folder):
    missing = {
        name: str(path)
        for name, path in imported(folder).items()
        if DISTRIBUTION_OF.get(name, name).lower() not in declared()
    }
    assert not missing


def test_every_declared_package_is_pinned():
    lines = (ROOT / "requirements" / "lock.txt").read_text(encoding="utf-8").splitlines()
    pinned = {re.split(r"[=<> ;]", line)[0].lower() for line in lines if line[:1] not in ("#", "")}
    normal = {name.replace("_", "-") for name in pinned}
    # Tools of builds have the newest version that pip finds.
    assert {name.replace("_", "-") for name in declared()} - normal <= {"setuptools", "wheel"}


def test_every_pattern_of_packaging_matches_a_file():
    manifest = (ROOT / "MANIFEST.in").read_text(encoding="utf-8").split("\n")
    patterns = []
    for line in manifest:
        command, *words = line.split() or [""]
        if command == "include":
            patterns += words
        elif command == "recursive-include":
            patterns += [f"{words[0]}/**/{pattern}" for pattern in words[1:]]
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    patterns += ast.literal_eval(re.search(r"MIM_FILES = (\[[^]]*\])", text)[1])
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    data = settings["tool"]["setuptools"]["package-data"]["mmbas"]
    patterns += [f"mmbas/{pattern}" for pattern in data]
    assert len(patterns) > 15
    assert [pattern for pattern in patterns if not any(Path(ROOT).glob(pattern))] == []
