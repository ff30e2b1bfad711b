"""The wheel: what is in it, and that it works far from the source tree."""

import email
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import mmbas

pytest.importorskip("mmpretrain")
pytest.importorskip("setuptools", minversion="77")  # the first that know a licence expression

from helpers import ROOT

IGNORED = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.pyc")
PARTS = ["mmbas", "include", "configs", "tools", "plans", "requirements"]
FILES = ["setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE"]

# Runs a tool of the installed package on a config of the installed package.
USER = """
import runpy, sys
from pathlib import Path
import mmbas
mim = Path(mmbas.__file__).parent / ".mim"
config = mim / "configs" / "resnet20_bas_digits.py"
sys.argv = ["count_macs.py", str(config), "--shape", "32", "--out-json", sys.argv[1]]
runpy.run_path(str(mim / "tools" / "count_macs.py"), run_name="__main__")
from mmbas.experiments.plan import load_plan
from mmbas.experiments.run_state import run_config
for run in load_plan(mim / "plans" / "cifar10-10k-20e.yaml").runs:
    assert run_config(run).train_cfg.max_epochs == 20
print(mmbas.__file__)
"""


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    result = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]
    return result.stdout


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel, and what building it changed in the source tree."""
    folder = tmp_path_factory.mktemp("packaging")
    tree = folder / "tree"
    tree.mkdir()
    for part in PARTS:
        shutil.copytree(ROOT / part, tree / part, ignore=IGNORED)
    for name in [*FILES, "model-index.yml"]:
        shutil.copy2(ROOT / name, tree / name)
    before = files_of(tree)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    flags = ["--no-deps", "--no-build-isolation", "--no-index", "-q"]
    run(*pip, "wheel", ".", *flags, "-w", folder / "wheels", cwd=tree)
    (wheel,) = (folder / "wheels").glob("mmbas-*.whl")
    run(
        *pip,
        "install",
        wheel,
        "--no-deps",
        "--no-index",
        "-q",
        "--target",
        folder / "site",
        cwd=folder,
    )
    return folder / "site", wheel, before, files_of(tree)


def test_the_wheel_holds_every_source_file(built):
    _, wheel, before, _ = built
    names = set(zipfile.ZipFile(wheel).namelist())
    suffixes = {".py", ".cpp", ".h", ".html", ".typed", ".pth"}
    sources = {name for name in before if name.startswith("mmbas/")}
    expected = {name for name in sources if Path(name).suffix in suffixes}
    assert len(expected) > 40
    assert expected <= names
    assert sources <= expected | {name for name in sources if name.endswith(".md")}


def test_the_wheel_says_what_it_is(built):
    _, wheel, *_ = built
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(archive.read(name))
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Author"] == "mmbas contributors"
    assert metadata["Version"] == mmbas.__version__
    assert set(metadata.get_all("Provides-Extra")) >= {"openmmlab", "export", "benchmark"}
    assert any(name.endswith("/licenses/LICENSE") for name in archive.namelist())


def test_the_wheel_holds_configs_tools_and_the_index(built):
    _, wheel, before, _ = built
    names = zipfile.ZipFile(wheel).namelist()
    mim = {name.removeprefix("mmbas/.mim/") for name in names if name.startswith("mmbas/.mim/")}
    assert mim == {name for name in before if name.startswith(("configs/", "tools/", "plans/"))} | {
        "model-index.yml"
    }
    assert not [name for name in names if "pycache" in name or name.startswith("tests")]


def test_scripts_stay_executable(built):
    site, *_ = built
    assert os.access(site / "mmbas" / ".mim" / "tools" / "dist_train.sh", os.X_OK)


def test_every_model_of_the_index_has_its_config(built):
    site, *_ = built
    mim = site / "mmbas" / ".mim"
    models = yaml.safe_load((mim / "model-index.yml").read_text(encoding="utf-8"))["Models"]
    assert models
    for model in models:
        assert (mim / model["Config"]).is_file(), model["Name"]


def test_building_leaves_nothing_in_the_source_tree(built):
    *_, before, after = built
    # setuptools keeps its notes there; git ignores them.
    assert {name for name in after - before if not name.startswith("mmbas.egg-info/")} == set()
    assert before <= after


def test_the_installed_package_works_far_from_the_source_tree(built, tmp_path):
    site, *_ = built
    out = tmp_path / "macs.json"
    printed = run(sys.executable, "-c", USER, out, cwd=tmp_path, PYTHONPATH=str(site))
    assert printed.splitlines()[-1] == str(site / "mmbas" / "__init__.py")
    result = json.loads(out.read_text())
    assert result["config"] == str(site / "mmbas" / ".mim" / "configs" / "resnet20_bas_digits.py")
    assert 40_561_024 in result.values()
