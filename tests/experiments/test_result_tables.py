"""Tables are made from the files of the results, and those of the project are up to date."""

import json

import pytest
from helpers import ROOT

from mmbas.experiments.result_tables import markdown_table, update_tables

PAGE = "# Title\n\n<!-- results: one -->\nold\n<!-- end -->\n\nText.\n"
GATED = {
    "name": "gated_seed0",
    "method": "gated",
    "seed": 0,
    "accuracy": 0.8,
    "macs/average": 20e6,
    "macs/fraction": 0.5,
    "gates/conditional": 0.7,
    "gates/always_on": 0.2,
    "gates/always_off": 0.1,
}


def write(folder, *results):
    folder.mkdir(exist_ok=True)
    for result in results:
        (folder / f"{result['name']}.json").write_text(json.dumps(result))


def test_mean_and_range_over_seeds(tmp_path):
    # accuracy 80 and 82: mean 81; MACs 20 M and 22 M: mean 21
    second = {**GATED, "name": "gated_seed1", "seed": 1, "accuracy": 0.82, "macs/average": 22e6}
    write(tmp_path / "one", GATED, second)
    page = update_tables(PAGE, tmp_path)
    assert "| `gated` | gated | 0, 1 | 81.00 (80.00 to 82.00) | 21.0 (20.0 to 22.0) |" in page
    assert "old" not in page
    assert page.startswith("# Title\n")
    assert page.endswith("\nText.\n")
    assert update_tables(page, tmp_path) == page


def test_a_plain_network_has_no_gates():
    plain = {key: value for key, value in GATED.items() if not key.startswith("gates/")}
    last = markdown_table([plain]).strip().splitlines()[-1]
    assert last == "| `gated` | gated | 0 | 80.00 | 20.0 | 50.0 | - | - | - |"


def test_segmentation():
    result = {**GATED, "mIoU": 41.25, "aAcc": 80.5}
    header, _, row = markdown_table([result]).strip().splitlines()
    assert "mIoU, % | pixel accuracy, %" in header
    assert "| 41.25 | 80.50 | 20.0 |" in row


@pytest.mark.parametrize(
    ("name", "point"),
    [("a_seed3", "a"), ("a_seed_b_seed0", "a_seed_b"), ("a_seedling", "a_seedling")],
)
def test_the_seed_is_no_part_of_a_point(name, point):
    rows = markdown_table([{**GATED, "name": name}]).strip().splitlines()
    assert rows[-1].startswith(f"| `{point}` |")


def test_a_range_that_is_none_is_not_written():
    row = markdown_table([GATED, {**GATED, "seed": 1}]).strip().splitlines()[-1]
    assert row == "| `gated` | gated | 0, 1 | 80.00 | 20.0 | 50.0 | 70.0 | 20.0 | 10.0 |"


def test_a_table_without_an_end(tmp_path):
    write(tmp_path / "one", GATED)
    with pytest.raises(ValueError, match="expected '<!-- end -->' after each"):
        update_tables(PAGE.replace("<!-- end -->", ""), tmp_path)


def test_missing_results_are_named(tmp_path):
    with pytest.raises(ValueError, match="expected results .* in .*one"):
        update_tables(PAGE, tmp_path)


@pytest.mark.parametrize(
    "path",
    sorted(
        path
        for path in ROOT.glob("**/*.md")
        if "<!-- results: " in path.read_text(encoding="utf-8")
        and not any(part.startswith(".") for part in path.relative_to(ROOT).parts)
    ),
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_the_project_s_tables_equal_its_results(path):
    text = path.read_text(encoding="utf-8")
    assert update_tables(text, ROOT / "results") == text


def test_the_project_s_results_say_where_they_come_from():
    for path in (ROOT / "results").glob("*/*.json"):
        result = json.loads(path.read_text(encoding="utf-8"))
        keys = {"command", "commit", "seed", "versions", "hardware", "data"}
        assert keys <= set(result), path
        assert "reproduce.py" not in result["command"] or result["commits_trained"], path
        commits = [result["commit"], *result.get("commits_trained", [])]
        assert not any(commit.endswith("-dirty") for commit in commits), path
