"""Running plans: nothing twice, nothing lost, failures and the time budget reported.

Most tests put a small script in place of the tools; one runs the real ones.
"""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")

from helpers import ROOT, error_of, json_of, run_tool, write_config

from mmbas.reproduction.plan import Run
from mmbas.reproduction.run_state import RunFiles
from mmbas.reproduction.runner import PlanRunner

SCRIPT = """
import json, pathlib, sys, time
task, folder, seconds = sys.argv[1], pathlib.Path(sys.argv[2]), float(sys.argv[3])
with (folder / "calls.txt").open("a") as file:
    file.write(task + "\\n")
time.sleep(seconds)
if task == "fail":
    sys.exit(3)
if task == "train":
    (folder / "epoch_2.pth").touch()
else:
    result = {"accuracy": 0.5, "macs/fraction": 0.7, "config": "x", "checkpoint": "x"}
    (folder / "test.json").write_text(json.dumps(result))
"""


@dataclass(frozen=True)
class ScriptedRun(RunFiles):
    """A run whose training and test are a script."""

    script: Path = Path()
    task: str = "train"
    seconds: float = 0.0

    def train_command(self):
        return [sys.executable, str(self.script), self.task, str(self.work_dir), str(self.seconds)]

    def test_command(self):
        return [sys.executable, str(self.script), "test", str(self.work_dir), "0"]

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
    return runner.run(), lines


def test_a_result_names_run_command_and_commit(tmp_path):
    files = make(tmp_path, "one")
    failed, lines = execute([files])
    assert failed == []
    assert lines == ["one: from 0", "one: done"]
    result = json.loads(files.result.read_text())
    assert result["command"] == "python tools/reproduce.py plans/p.yaml --only one"
    assert {
        "accuracy": 0.5,
        "macs/fraction": 0.7,
        "seed": 0,
        "name": "one",
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


def test_a_failure_does_not_stop_the_others(tmp_path):
    bad, good = make(tmp_path, "bad", task="fail"), make(tmp_path, "good")
    failed, lines = execute([bad, good])
    assert failed == ["bad"]
    assert f"bad: failed, see {bad.log}" in lines
    assert not bad.result.exists()
    assert good.result.exists()


def test_runs_are_parallel(tmp_path):
    every = [make(tmp_path, f"run{i}", seconds=2) for i in range(3)]
    _, lines = execute(every, parallel=3)
    assert {line.split(": ")[1] for line in lines[:3]} == {"from 0"}  # all before one is done


def test_the_time_budget_stops_what_runs_and_starts_nothing(tmp_path):
    first, second = make(tmp_path, "first", seconds=60), make(tmp_path, "second")
    start = time.monotonic()
    failed, lines = execute([first, second], seconds=2.0)
    assert time.monotonic() - start < 30
    assert failed == []
    assert lines == ["first: from 0", "first: stopped at 0"]
    assert second.calls() == []


def test_a_run_that_another_process_is_at_is_left_alone(tmp_path):
    files = make(tmp_path, "one", seconds=4)
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_runner as t, pathlib\n"
    code += "t.execute([t.make(pathlib.Path(sys.argv[2]), 'one', seconds=4)])"
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


def test_impossible_time():
    with pytest.raises(ValueError, match="at least 0 s, but got -1"):
        PlanRunner([], plan_path="p", seconds=-1, report=print)


PLAN = """
data: Digits
results: {folder}/results
length: 5
runs:
  - name: gated
    method: gated
    config: {config}
    seeds: [0, 1]
"""


def test_killed_and_started_again(tmp_path):
    """The real tools: two runs at once are killed with the runner, then go on to the end."""
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN.format(folder=tmp_path, config=write_config(tmp_path)))
    arguments = [plan, "--work-dir", tmp_path / "work"]
    process = subprocess.Popen(
        [sys.executable, "tools/reproduce.py", *map(str, arguments), "--parallel", "2"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    while not list((tmp_path / "work").glob("*/epoch_1.pth")):
        assert process.poll() is None
        time.sleep(0.2)
    time.sleep(0.5)  # that the file of it is whole
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "results").exists()

    states = json_of(run_tool, "reproduce", *arguments, out=tmp_path / "table.json")["runs"]
    assert [state["state"] for state in states] == ["finished", "finished"]
    result = json.loads((tmp_path / "results" / "gated_seed1.json").read_text())
    assert result["seed"] == 1
    assert 0 < result["macs/fraction"] <= 1
    logs = [(tmp_path / "work" / f"gated_seed{seed}" / "run.log") for seed in (0, 1)]
    # How far it came before the kill depends on the machine; the five epochs were not over.
    assert any(re.search(r"resumed epoch: [1-4]", log.read_text()) for log in logs)

    sizes = [log.stat().st_size for log in logs]
    run_tool("reproduce", *arguments)
    assert [log.stat().st_size for log in logs] == sizes


def test_bad_input_is_one_line(tmp_path):
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN.format(folder=tmp_path, config="configs/none.py"))
    assert "no such file" in error_of("reproduce", plan)
    assert "expected a run that fits 'x'" in error_of("reproduce", plan, "--only", "x")


def test_stopped_by_a_signal(tmp_path):
    """Ctrl-C and a scheduler's SIGTERM: what is done is shown, no traceback, nothing runs on."""
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN.format(folder=tmp_path, config=write_config(tmp_path)))
    process = subprocess.Popen(
        [sys.executable, "tools/reproduce.py", str(plan), "--work-dir", str(tmp_path / "work")],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "gated_seed0: from 0\n"
    process.terminate()
    shown, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "0 of 2 finished" in shown
    assert errors == "stopped; the same command goes on from the last checkpoints\n"
    with (tmp_path / "work" / "gated_seed0" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while the training runs on
