"""Killed twenty times, at random moments and while it writes checkpoints: the run is the same."""

import json
import os
import signal
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")

import kill_harness
from helpers import ROOT, write_config

EPOCHS, ITERATIONS = 24, 2
KILLS, SEED = 20, 1

TRAINING = f"""
train_dataloader = dict(batch_size=4, dataset=dict(indices=8))
train_cfg = dict(max_epochs={EPOCHS}, val_interval={EPOCHS})
val_dataloader = dict(dataset=dict(indices=4))
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=2))
custom_hooks = [
    dict(
        type="mmbas.GateLossScheduleHook",
        windows=dict(
            bas=dict(begin=0, end={EPOCHS}, start_factor=1.0, end_factor=0.25),
            l0=dict(begin=3, end=17.5, start_factor=0.0, end_factor=1.0),
        ),
    ),
    dict(type="mmbas.GateMonitorHook", interval=1),
]
"""


def harness(
    config: Path, work_dir: Path, kills: int, longest: float, *, seed: int = SEED
) -> list[list]:
    """What each start was doing when it was killed, its exit code and its seconds."""
    settings = [str(kills), str(seed), str(longest)]
    result = subprocess.run(
        [sys.executable, kill_harness.__file__, config, work_dir, *settings],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Work dirs of an uninterrupted and of a killed run, and how the latter's starts ended."""
    folder = tmp_path_factory.mktemp("kills")
    config = write_config(folder, TRAINING)
    ((_, code, seconds),) = harness(config, folder / "whole", 0, 0.0)
    assert code == 0, (folder / "whole.err").read_text()[-3000:]
    # Kills by the clock come before the third epoch of a start, so that twenty find work to do.
    epoch = ITERATIONS * statistics.mean(row["time"] for row in rows_of(folder / "whole"))
    longest = seconds - (EPOCHS - 2) * epoch
    return folder / "whole", folder / "killed", harness(config, folder / "killed", KILLS, longest)


def rows_of(work_dir: Path) -> list[dict]:
    """Every row of a training iteration that was logged."""
    rows = []
    for path in sorted(work_dir.glob("*/vis_data/scalars.json")):
        for line in path.read_text().splitlines():
            row = json.loads(line) if line.endswith("}") else {}  # a kill may cut a line off
            if "lr" in row:
                rows.append(row)
    return rows


def factors(work_dir: Path) -> list[tuple]:
    """Iteration, factors of the losses and learning rate of every row."""
    keys = ("iter", "gates/bas_factor", "gates/l0_factor", "lr")
    return [tuple(row[key] for key in keys) for row in rows_of(work_dir)]


@pytest.mark.slow
def test_every_start_could_resume(runs):
    _, killed, starts = runs
    errors = killed.with_suffix(".err").read_text()[-3000:]  # of the last start
    assert [code for _, code, _ in starts] == [-signal.SIGKILL] * KILLS + [0], (starts, errors)
    assert {moment for moment, _, _ in starts[:-1]} == set(kill_harness.MOMENTS)


@pytest.mark.slow
def test_weights_optimiser_and_iteration_are_those_of_an_uninterrupted_run(runs):
    whole, killed, _ = runs
    last = f"epoch_{EPOCHS}.pth"
    expected, actual = (
        torch.load(run / last, map_location="cpu", weights_only=False) for run in (whole, killed)
    )
    assert actual["meta"]["iter"] == expected["meta"]["iter"] == EPOCHS * ITERATIONS
    assert actual["state_dict"].keys() == expected["state_dict"].keys()
    for key, value in expected["state_dict"].items():
        assert torch.equal(actual["state_dict"][key], value), key
    momenta = [checkpoint["optimizer"]["state"] for checkpoint in (expected, actual)]
    for key, state in momenta[0].items():
        torch.testing.assert_close(momenta[1][key], state, rtol=0, atol=0)


@pytest.mark.slow
def test_factors_are_those_of_an_uninterrupted_run(runs):
    whole, killed, _ = runs
    expected = {row[0]: row for row in factors(whole)}
    assert sorted(expected) == list(range(1, EPOCHS * ITERATIONS + 1))
    rows = factors(killed)
    assert {row[0] for row in rows} == set(expected)
    assert len(rows) > len(expected)  # some iterations were done twice
    assert all(row == expected[row[0]] for row in rows)


@pytest.mark.slow
def test_no_more_checkpoints_are_left_than_asked_for(runs):
    whole, killed, _ = runs
    for run in (whole, killed):
        names = sorted(path.name for path in run.glob("*.pth"))
        assert names == [f"epoch_{EPOCHS - 1}.pth", f"epoch_{EPOCHS}.pth"]


ITER_KILLS, ITER_SEED, MAX_ITERS = 5, 2, 12  # a seed that kills at each moment

# As the segmentation configs train: one endless epoch, everything counted in iterations.
BY_ITERATION = f"""
train_dataloader = dict(batch_size=4, sampler=dict(type="InfiniteSampler"))
train_cfg = dict(
    _delete_=True, type="IterBasedTrainLoop", max_iters={MAX_ITERS}, val_interval={MAX_ITERS}
)
val_dataloader = dict(dataset=dict(indices=4))
param_scheduler = [dict(type="PolyLR", by_epoch=False, end={MAX_ITERS})]
log_processor = dict(by_epoch=False)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=1, max_keep_ckpts=2))
custom_hooks = [
    dict(
        type="mmbas.GateLossScheduleHook",
        by_epoch=False,
        windows=dict(
            bas=dict(begin=0, end={MAX_ITERS}, start_factor=1.0, end_factor=0.25),
            l0=dict(begin=3, end=9.5, start_factor=0.0, end_factor=1.0),
        ),
    ),
    dict(type="mmbas.GateMonitorHook", interval=1),
]
"""


@pytest.mark.slow
def test_the_iteration_loop_goes_on_too(tmp_path):
    """Iterations, factors and learning rates as uninterrupted; the noise is another."""
    config = write_config(tmp_path, BY_ITERATION)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    ((_, code, seconds),) = harness(config, whole, 0, 0.0)
    assert code == 0, whole.with_suffix(".err").read_text()[-3000:]
    starts = harness(config, killed, ITER_KILLS, seconds / 2, seed=ITER_SEED)
    errors = killed.with_suffix(".err").read_text()[-3000:]
    assert [code for _, code, _ in starts] == [-signal.SIGKILL] * ITER_KILLS + [0], (starts, errors)
    assert {moment for moment, _, _ in starts[:-1]} == set(kill_harness.MOMENTS)

    expected = {row[0]: row for row in factors(whole)}
    assert sorted(expected) == list(range(1, MAX_ITERS + 1))
    rows = factors(killed)
    assert {row[0] for row in rows} == set(expected)
    assert len(rows) > len(expected)  # some iterations were done twice
    assert all(row == expected[row[0]] for row in rows)
    for run in (whole, killed):
        names = {path.name for path in run.glob("*.pth")}
        assert names == {f"iter_{MAX_ITERS - 1}.pth", f"iter_{MAX_ITERS}.pth"}
        last = torch.load(run / f"iter_{MAX_ITERS}.pth", map_location="cpu", weights_only=False)
        assert last["meta"]["iter"] == MAX_ITERS
