"""Running plans: nothing twice, nothing lost, failures and the time budget reported.

A small script stands in place of the tools; test_reproduce_tool.py runs the real ones.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

pytest.importorskip("mmpretrain")

from helpers import ROOT

from mmbas.experiments.plan import Run
from mmbas.experiments.run_state import RunFiles
from mmbas.experiments.runner import PlanRunner

SCRIPT = """
import json, os, pathlib, sys, time
task, folder, seconds = sys.argv[1], pathlib.Path(sys.argv[2]), float(sys.argv[3])
with (folder / "calls.txt").open("a") as file:
    file.write(task + "\\n")
time.sleep(seconds)
if task == "meet":  # until all three have been called
    deadline = time.monotonic() + 300
    while len(list(folder.parent.glob("*/calls.txt"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
if task.startswith("fail"):
    sys.exit(3)
if task in ("train", "meet"):
    (folder / "epoch_2.pth").write_bytes(bytes([128]))  # as a whole checkpoint begins
else:
    result = {"accuracy": 0.5, "macs/fraction": 0.7, "config": "x", "checkpoint": "x"}
    result["threads"] = os.environ["OMP_NUM_THREADS"]
    (folder / "test.json").write_text(json.dumps(result))
"""


@dataclass(frozen=True)
class ScriptedRun(RunFiles):
    """A run whose training and test are a script."""

    script: Path = Path()
    task: str = "train"
    test_task: str = "test"
    seconds: float = 0.0

    def train_command(self):
        return [sys.executable, str(self.script), self.task, str(self.work_dir), str(self.seconds)]

    def test_command(self):
        return [sys.executable, str(self.script), self.test_task, str(self.work_dir), "0"]

    def calls(self):
        path = self.work_dir / "calls.txt"
        return path.read_text().split() if path.exists() else []


def make(tmp_path, name, **options):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    run = Run(
        name=name,
        method="m",
        config="configs/resnet20_bas_digits.py",
        overrides={},
        seed=0,
        data="Digits",
        dense=False,
        amp=False,
        length=2,
    )
    return ScriptedRun(
        run, tmp_path / "work" / name, tmp_path / f"{name}.json", script=script, **options
    )


def execute(files, **options):
    lines = []
    runner = PlanRunner(files, plan_path="plans/p.yaml", report=lines.append, **options)
    runner.run()
    return runner.failed, lines


def test_a_result_names_run_command_and_commit(tmp_path):
    files = make(tmp_path, "one")
    failed, lines = execute([files], threads=3)
    assert failed == []
    assert lines == ["one: from 0", "one: done"]
    result = json.loads(files.result.read_text())
    assert result["command"] == "python tools/reproduce.py plans/p.yaml --only one"
    assert {
        "accuracy": 0.5,
        "macs/fraction": 0.7,
        "seed": 0,
        "name": "one",
        "threads": "3",
    }.items() <= result.items()
    assert result["config"] == "configs/resnet20_bas_digits.py"
    assert len(result["commits_trained"]) == 1
    assert "checkpoint" not in result  # a path of this machine


def test_finished_runs_are_not_repeated(tmp_path):
    files = make(tmp_path, "one")
    execute([files])
    failed, lines = execute([files])
    assert (failed, lines) == ([], [])
    assert files.calls() == ["train", "test"]


def test_a_result_of_other_settings_is_refused(tmp_path):
    files = make(tmp_path, "one")
    execute([files])
    saved = json.loads(files.result.read_text())
    files.result.write_text(json.dumps({**saved, "seed": 7}))
    with pytest.raises(ValueError, match=r"its \['seed'\] differ from the plan's"):
        execute([files])


def test_checkpoints_of_other_settings_are_refused(tmp_path):
    """Without a result, what is trained must not be published under changed settings."""
    files = make(tmp_path, "one")
    execute([files])
    files.result.unlink()
    changed = replace(files, run=replace(files.run, overrides={"train_dataloader.batch_size": 4}))
    failed, lines = execute([changed])
    assert failed == ["one"]
    assert "its ['overrides'] differ from the plan's" in lines[0]
    assert str(files.work_dir) in lines[0]
    assert not files.result.exists()
    shutil.rmtree(files.work_dir)
    assert execute([changed])[0] == []


def test_a_config_that_was_edited_since_is_refused(tmp_path):
    """What is half trained must not go on under another config."""
    files = make(tmp_path, "one", test_task="fail")
    execute([files])  # trained, but without a result
    config = files.planned.read_text()
    assert execute([files])[1][1] == f"one: failed, see {files.log}"  # the same config goes on
    files.planned.write_text(config.replace("lr=0.1", "lr=0.3"))
    failed, lines = execute([files])
    assert failed == ["one"]
    assert "with which one was trained so far, but its ['optim_wrapper'] differ" in lines[0]
    assert files.calls() == ["train", "fail", "train", "fail"]


def test_a_plan_may_be_mended_before_anything_is_trained(tmp_path):
    files = make(tmp_path, "one", task="fail")
    assert execute([files])[0] == ["one"]
    mended = replace(files.run, overrides={"train_dataloader.batch_size": 4})
    assert execute([replace(files, run=mended, task="train")])[0] == []


def test_what_another_runner_finished_meanwhile_is_not_repeated(tmp_path):
    first, second = make(tmp_path, "first", seconds=3), make(tmp_path, "second")
    thread = threading.Thread(target=execute, args=([first, second],))
    thread.start()
    while not first.calls():
        time.sleep(0.1)
    execute([second])
    thread.join()
    assert second.calls() == ["train", "test"]
    assert first.result.exists()


def test_a_failed_test_gives_no_result(tmp_path):
    files = make(tmp_path, "one", test_task="fail")
    files.work_dir.mkdir(parents=True)
    files.test_output.write_text('{"accuracy": 1}')  # of an earlier start
    assert execute([files])[0] == ["one"]
    assert not files.result.exists()


def test_an_error_of_the_file_system_does_not_stop_the_others(tmp_path):
    bad, good = make(tmp_path, "bad"), make(tmp_path, "good")
    bad.work_dir.parent.mkdir()
    bad.work_dir.write_text("a file where the folder should be")
    failed, lines = execute([bad, good])
    assert failed == ["bad"]
    assert "bad: failed: " in lines[0]
    assert good.result.exists()


def test_a_mistake_in_the_plan_shows_before_anything_runs(tmp_path):
    good, bad = make(tmp_path, "good"), make(tmp_path, "bad")
    bad = replace(bad, run=replace(bad.run, config="configs/none.py"))
    with pytest.raises(ValueError, match="no such file"):
        execute([good, bad])
    assert good.calls() == []


@pytest.mark.parametrize("text", ["", '{"a": ', "[]"])
def test_a_result_that_is_none_is_named(tmp_path, text):
    files = make(tmp_path, "one")
    files.result.write_text(text)
    with pytest.raises(ValueError, match="expected .*JSON.* in .*one.json"):
        execute([files])


def test_the_newest_checkpoint_and_all_commits_count(tmp_path):
    files = RunFiles(make(tmp_path, "one").run, tmp_path / "work", tmp_path / "one.json")
    files.prepare()
    files.prepare()
    assert len(files.commits.read_text().splitlines()) == 2
    for epoch in (9, 10, 1):
        (files.work_dir / f"epoch_{epoch}.pth").write_bytes(b"\x80")
    (files.work_dir / "epoch_11.pth").touch()  # cut off
    assert files.done() == 10
    assert str(files.work_dir / "epoch_10.pth") in files.test_command()


def test_mixed_precision_is_asked_for(tmp_path):
    files = RunFiles(make(tmp_path, "one").run, tmp_path / "work", tmp_path / "one.json")
    assert "--amp" not in files.train_command()
    assert "--amp" in replace(files, run=replace(files.run, amp=True)).train_command()


def test_a_failure_does_not_stop_the_others(tmp_path):
    bad, good = make(tmp_path, "bad", task="fail"), make(tmp_path, "good")
    failed, lines = execute([bad, good])
    assert failed == ["bad"]
    assert f"bad: failed, see {bad.log}" in lines
    assert not bad.result.exists()
    assert good.result.exists()


def test_runs_are_parallel(tmp_path):
    every = [make(tmp_path, f"run{i}", task="meet") for i in range(3)]
    _, lines = execute(every, parallel=3)
    assert {line.split(": ")[1] for line in lines[:3]} == {"from 0"}  # all before one is done


def test_the_time_budget_stops_what_runs_and_starts_nothing(tmp_path):
    first, second = make(tmp_path, "first", seconds=600), make(tmp_path, "second")
    start = time.monotonic()
    failed, lines = execute([first, second], seconds=2.0)
    assert time.monotonic() - start < 300
    assert failed == []
    assert lines == ["first: from 0", "first: stopped at 0"]
    assert second.calls() == []


def test_a_signal_while_runs_are_being_started_stops_them(tmp_path, monkeypatch):
    submit = ThreadPoolExecutor.submit

    def interrupted(pool, call, files):
        if files.run.name == "second":
            raise KeyboardInterrupt
        return submit(pool, call, files)

    monkeypatch.setattr(ThreadPoolExecutor, "submit", interrupted)
    first, second = make(tmp_path, "first", seconds=600), make(tmp_path, "second")
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        execute([first, second], parallel=2)
    assert time.monotonic() - start < 300
    assert not first.result.exists()


def test_a_run_that_another_process_is_at_is_left_alone(tmp_path):
    files = make(tmp_path, "one", seconds=20)
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_runner as t, pathlib\n"
    code += "t.execute([t.make(pathlib.Path(sys.argv[2]), 'one', seconds=20)])"
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
    )
    while not files.calls():
        time.sleep(0.1)
    other.kill()  # the runner dies, what it started lives on
    other.wait()
    _, lines = execute([files])
    assert lines == ["one: another process is at it"]
    assert files.calls() == ["train"]


@pytest.mark.parametrize(("parallel", "threads"), [(0, 1), (1, 0)])
def test_impossible_numbers(parallel, threads):
    with pytest.raises(ValueError, match=f"but got {parallel} of {threads}"):
        PlanRunner([], plan_path="p", parallel=parallel, threads=threads, report=print)


@pytest.mark.parametrize("seconds", [-1, float("nan")])
def test_impossible_time(seconds):
    with pytest.raises(ValueError, match=f"at least 0 s, but got {seconds}"):
        PlanRunner([], plan_path="p", seconds=seconds, report=print)
