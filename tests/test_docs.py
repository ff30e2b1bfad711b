"""The pages of docs/: each is in the menu, the generated ones are up to date, the site builds."""

import fnmatch
import importlib.util
import re
import runpy
import subprocess
import sys

import pytest
from source_tree import ROOT

DOCS = ROOT / "docs"
MAX_README_LINES, MAX_CELL = 120, 120


def test_the_page_of_configs_is_up_to_date():
    script = runpy.run_path(str(DOCS / "make_config_page.py"))
    written = (DOCS / "configs.md").read_text(encoding="utf-8")
    assert written == script["page"](), "run: python docs/make_config_page.py"


def test_the_picture_of_the_idea_is_up_to_date():
    script = runpy.run_path(str(DOCS / "draw_idea.py"))
    written = (DOCS / "images" / "idea.svg").read_text(encoding="utf-8")
    assert written == script["svg"](), "run: python docs/draw_idea.py"


def test_the_readme_is_short():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MAX_README_LINES
    cells = [cell for line in lines if line.startswith("|") for cell in line.split("|")]
    assert cells
    assert [cell for cell in cells if len(cell.strip()) > MAX_CELL] == []


def test_every_link_between_the_texts_leads_somewhere():
    texts = [ROOT / "README.md", *DOCS.rglob("*.md"), *(ROOT / "results").glob("*.md")]
    wrong = []
    for text in texts:
        for target in re.findall(r"\]\(([^)#\s]+)", text.read_text(encoding="utf-8")):
            if "://" not in target and not (text.parent / target).exists():
                wrong.append(f"{text.relative_to(ROOT)}: {target}")
    assert not wrong, "\n".join(wrong)


def test_every_tool_is_on_the_page_of_commands():
    page = (DOCS / "commands.md").read_text(encoding="utf-8")
    tools = {path.name for path in (ROOT / "tools").iterdir() if path.suffix in (".py", ".sh")}
    assert {tool for tool in tools if tool not in page} == set()


def test_every_page_is_in_a_menu():
    for menu in (DOCS / "index.md", DOCS / "api" / "index.md"):
        entries = re.findall(r"^[\w*./-]+$", menu.read_text(encoding="utf-8"), re.MULTILINE)
        pages = {path.stem for path in menu.parent.glob("*.md")} - {"index"}
        missing = {p for p in pages if not any(fnmatch.fnmatch(p, entry) for entry in entries)}
        assert missing == set(), f"add them to a toctree of {menu}"


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    for package in ("sphinx", "myst_parser", "furo"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install -e '.[docs]'")
    pytest.importorskip("mmseg")
    options = ["-q", "-W", "--keep-going", "-b", "html", "-c", "docs", "-d", tmp_path / "trees"]
    command = [sys.executable, "-m", "sphinx", *options, ".", tmp_path / "html"]
    result = subprocess.run(
        list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    inventory = (tmp_path / "html" / "docs" / "api" / "losses.html").read_text(encoding="utf-8")
    assert 'id="mmbas.losses.BatchShapingLoss"' in inventory
