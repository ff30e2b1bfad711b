"""tools/reproduce.py with real trainings: killed, stopped, failed."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")

from helpers import ROOT, error_of, json_of, run_tool, write_config

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
    # Its file is whole once it is recorded as the last one.
    while not list((tmp_path / "work").glob("*/last_checkpoint")):
        assert process.poll() is None
        time.sleep(0.02)
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


def test_failures_show_and_are_the_exit_code(tmp_path):
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        PLAN.format(folder=tmp_path, config=write_config(tmp_path)).replace(
            "seeds: [0, 1]", "overrides: {optim_wrapper.optimizer.type: NoSuchOptimizer}"
        )
    )
    arguments = [str(plan), "--work-dir", str(tmp_path / "work")]
    process = subprocess.run(
        [sys.executable, "tools/reproduce.py", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert re.search(r"gated_seed0 +failed", process.stdout)


def test_stopped_by_a_signal(tmp_path):
    """Ctrl-C and a scheduler's SIGTERM: what is done is shown, no traceback, nothing runs on."""
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN.format(folder=tmp_path, config=write_config(tmp_path)))
    table = tmp_path / "table.json"
    arguments = [plan, "--work-dir", tmp_path / "work", "--only", "*_seed0", "--out-json", table]
    process = subprocess.Popen(
        [sys.executable, "tools/reproduce.py", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "gated_seed0: from 0\n"
    process.terminate()
    shown, errors = process.communicate(timeout=600)
    assert process.returncode == 130
    assert "0 of 1 finished" in shown
    assert json.loads(table.read_text())["runs"][0]["state"] == "waiting"
    assert errors == "stopped; the same command goes on from the last checkpoints\n"
    with (tmp_path / "work" / "gated_seed0" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while the training runs on
