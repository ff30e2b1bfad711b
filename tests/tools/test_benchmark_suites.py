"""Several measurements in one file: each is made once, and a stopped run goes on."""

import json

import pytest

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")

from helpers import ROOT, call_tool, error_of

from benchmarks import gpu_suite
from mmbas.sliced.prototype_triton.support import why_no_triton

TORCH_ONLY = ["--libraries", "torch", "--precisions", "float32"]


def test_the_table_measures_each_point_once(tmp_path):
    settings = ["--networks", "resnet20", "--threads", "1", "--open-fractions", "0.5"]
    settings += [
        "--repeats",
        "2",
        "--out-json",
        tmp_path / "out.json",
        "--out-md",
        tmp_path / "t.md",
    ]
    arguments = [*settings, "--", "--no-compile", *TORCH_ONLY, "--paths", "torch"]
    call_tool("../benchmarks/inference_table", *arguments)
    (point,) = json.loads((tmp_path / "out.json").read_text())["points"]
    assert (point["network"], point["open_fraction"], point["batch_size"]) == ("resnet20", 0.5, 1)
    assert point["command"].startswith("python tools/benchmark_inference.py configs/resnet20_bas")

    call_tool("../benchmarks/inference_table", *arguments)
    assert json.loads((tmp_path / "out.json").read_text())["points"] == [point]
    table = (tmp_path / "t.md").read_text().splitlines()
    assert table[0] == f"### CPU class `{point['cpu_class']}`"
    assert len({line.count("|") for line in table[2:] if line}) == 1  # as many cells in each row
    assert "| group |" in table[2]
    assert f"| {point['dense_best']} | {point['dense_best_ms']:.3g} |" in table[4]


@pytest.mark.skipif(why_no_triton() is not None, reason=str(why_no_triton()))
def test_the_gpu_suite_runs_dry_and_goes_on_where_it_was_stopped(tmp_path):
    out = tmp_path / "suite.json"
    arguments = ["--dry-run", "--out-json", out]
    # GIVEN a run in which all but the last step is done, with a result that shows.
    steps = [step.name for step in gpu_suite.steps_of_dry_run()]
    assert steps == ["tests", "inference", "training", "loss"]
    done = {"state": "done", "seconds": 1.0, "command": "x", "result": None, "output": ["before"]}
    record = {"dry_run": True, "steps": dict.fromkeys(steps[:3], done)}
    record["steps"]["training"] = {**done, "state": "failed"}
    out.write_text(json.dumps(record))
    # WHEN no time is left, THEN nothing is started.
    result = call_tool("../benchmarks/gpu_suite", *arguments, "--minutes", "1e-9", expect=1)
    assert "not done: training, loss" in result.stdout
    # WHEN there is, THEN what failed and what is missing run.
    call_tool("../benchmarks/gpu_suite", *arguments, "--minutes", "20")
    found = json.loads(out.read_text())["steps"]
    assert {name: found[name]["state"] for name in steps} == dict.fromkeys(steps, "done")
    assert [found[name]["output"] == ["before"] for name in steps] == [True, True, False, False]
    assert found["training"]["result"]["step_ratio"] > 0
    assert found["loss"]["result"]["loss_ms"] > 0
    report = out.with_suffix(".md").read_text()
    assert "| loss | done |" in report
    # A run on a GPU must not go on with what a dry run found.
    other = ["--minutes", "1", "--out-json", out]
    assert "of a dry run" in error_of("../benchmarks/gpu_suite", *other)


@pytest.mark.slow
@pytest.mark.skipif(why_no_triton() is not None, reason=str(why_no_triton()))
def test_the_whole_gpu_suite_runs_dry(tmp_path):
    out = tmp_path / "suite.json"
    call_tool("../benchmarks/gpu_suite", "--dry-run", "--out-json", out, "--minutes", "30")
    assert json.loads(out.read_text())["steps"]["inference"]["result"]["path"] == "triton"


def test_the_gpu_suite_names_files_that_exist():
    for step in [*gpu_suite.steps_on_gpu(), *gpu_suite.steps_of_dry_run()]:
        paths = [part for part in step.command if part.split("/")[0] in gpu_suite.FOLDERS]
        assert paths
        assert all((ROOT / path).exists() for path in paths), step
    names = [step.name for step in gpu_suite.steps_on_gpu()]
    assert len(set(names)) == len(names)
