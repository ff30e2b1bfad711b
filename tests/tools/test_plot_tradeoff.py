"""tools/plot_tradeoff.py: from result files to pictures and their numbers."""

import json

import pytest
from helpers import call_tool, error_of, json_of


@pytest.fixture
def results(tmp_path):
    paths = []
    for seed, accuracy in enumerate((0.9, 0.92)):
        record = {
            "name": f"bas_seed{seed}",
            "method": "BAS",
            "dense": False,
            "data": "digits",
            "accuracy": accuracy,
            "macs/average": 1e7,
            "macs/fraction": 0.25,
        }
        paths.append(tmp_path / f"{seed}.json")
        paths[-1].write_text(json.dumps(record))
    return paths


def test_pictures_and_numbers(results, tmp_path):
    arguments = [*results, "--relative", "--out", tmp_path / "tradeoff"]
    result = json_of(call_tool, "plot_tradeoff", *arguments, out=tmp_path / "points.json")

    assert (tmp_path / "tradeoff.png").read_bytes().startswith(b"\x89PNG")
    assert "digits" in (tmp_path / "tradeoff.svg").read_text()
    assert (result["data"], result["metric"]) == ("digits", "accuracy")
    (point,) = result["points"]
    assert (point["method"], point["num_runs"]) == ("BAS", 2)
    assert point["score"] == pytest.approx(dict(mean=91, low=90, high=92))
    assert "--relative" in result["command"]


def test_a_foreign_file_is_one_line_with_its_name(results, tmp_path):
    foreign = tmp_path / "foreign.json"
    foreign.write_text("{}")
    error = error_of("plot_tradeoff", *results, foreign, "--out", tmp_path / "a.png")
    assert error.startswith(f"error: expected a result of one run in {foreign}, but it lacks name")
    assert not (tmp_path / "a.png").exists()


def test_a_picture_without_a_plain_network_says_so(results, tmp_path):
    arguments = [*results, "--out", tmp_path / "a.png"]
    assert "no plain network is among the results" in call_tool("plot_tradeoff", *arguments).stderr
    plain = tmp_path / "plain.json"
    record = json.loads(results[0].read_text())
    plain.write_text(json.dumps({**record, "name": "p", "method": "plain", "dense": True}))
    assert call_tool("plot_tradeoff", plain, *arguments).stderr == ""


def test_help_shows_examples():
    text = call_tool("plot_tradeoff", "-h").stdout
    assert "examples:\n  python tools/plot_tradeoff.py " in text
    assert "--out-json" in text
