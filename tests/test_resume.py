"""Interrupted training loses nothing: killed and resumed equals uninterrupted.

One training is run through, in the folder ``whole``. The same training in the folder ``killed``
ends with SIGKILL between two checkpoints and is resumed there.
"""

import json
import signal
from pathlib import Path

import pytest
import torch

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")

from helpers import CONFIGS, run_tool, write_config
from mmengine.config import Config

ITERATIONS_PER_EPOCH = 4
EPOCHS = 3
KILLED_AFTER = 6  # in the middle of the second epoch; the checkpoint is that of the first

# The factors move within epochs; the queue of logits is state that a checkpoint must hold.
TRAINING = """
custom_imports = dict(imports=["helpers"])
model = dict(gate_losses=dict(bas=dict(queue_size=20)))
default_hooks = dict(seed_per_epoch=dict(type="mmbas.SeedPerEpochHook"))
custom_hooks = [
    dict(
        type="mmbas.GateLossScheduleHook",
        windows=dict(
            bas=dict(begin=0, end=3, start_factor=1.0, end_factor=0.25),
            l0=dict(begin=1, end=2.5, start_factor=0.0, end_factor=1.0),
        ),
    ),
    dict(
        type="mmbas.GateNoiseScheduleHook",
        window=dict(begin=0.5, end=2.5, start_factor=1.0, end_factor=0.0),
    ),
    dict(type="mmbas.GateMonitorHook", interval=1),
]
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Work dirs of both trainings."""
    folder = tmp_path_factory.mktemp("resume")
    config = write_config(folder, TRAINING)
    whole, killed = folder / "whole", folder / "killed"
    # --resume where there is no checkpoint starts from scratch.
    run_tool("train", config, "--work-dir", whole, "--resume")

    kill = f'default_hooks.update(kill=dict(type="KillHook", iteration={KILLED_AFTER}))'
    fatal = write_config(folder, TRAINING + kill, name="fatal.py")
    result = run_tool("train", fatal, "--work-dir", killed, expect=None)
    assert result.returncode == -signal.SIGKILL, result.stderr[-3000:]
    assert sorted(path.name for path in killed.glob("*.pth")) == ["epoch_1.pth"]
    run_tool("train", config, "--work-dir", killed, "--resume")
    return whole, killed


def scalars(work_dir: Path) -> list[list[dict]]:
    """What each start of the training logged, in the order of the starts; one row an iteration."""
    starts = sorted(work_dir.glob("*/vis_data/scalars.json"))
    rows = [[json.loads(line) for line in path.read_text().splitlines()] for path in starts]
    return [[row for row in start if "lr" in row] for start in rows]


def load(path: Path) -> dict:
    return torch.load(path, map_location="cpu", weights_only=False)


def assert_bitwise_equal(actual, expected, where=""):
    """Nested dicts and lists of tensors and numbers, bit for bit."""
    assert type(actual) is type(expected), where
    if isinstance(actual, dict):
        assert actual.keys() == expected.keys(), where
        for key in actual:
            assert_bitwise_equal(actual[key], expected[key], f"{where}.{key}")
    elif isinstance(actual, (list, tuple)):
        assert len(actual) == len(expected), where
        for i in range(len(actual)):
            assert_bitwise_equal(actual[i], expected[i], f"{where}.{i}")
    elif isinstance(actual, torch.Tensor):
        assert actual.dtype == expected.dtype, where
        assert torch.equal(actual, expected), where
    else:
        assert actual == expected, where


def test_resume_without_a_checkpoint_starts_from_scratch(runs):
    whole, _ = runs
    (rows,) = scalars(whole)
    assert [row["iter"] for row in rows] == list(range(1, EPOCHS * ITERATIONS_PER_EPOCH + 1))


def test_a_killed_run_goes_on_after_its_last_checkpoint(runs):
    _, killed = runs
    before, after = scalars(killed)
    assert [row["iter"] for row in before] == list(range(1, KILLED_AFTER + 1))
    assert [row["iter"] for row in after] == list(
        range(ITERATIONS_PER_EPOCH + 1, EPOCHS * ITERATIONS_PER_EPOCH + 1)
    )
    assert [row["epoch"] for row in after] == [2] * 4 + [3] * 4


def test_loss_factors_go_on_as_if_nothing_had_happened(runs):
    whole, killed = runs
    (uninterrupted,), (before, after) = scalars(whole), scalars(killed)
    expected = {row["iter"]: row for row in uninterrupted}
    for row in before + after:
        wanted = expected[row["iter"]]
        for key in ("gates/bas_factor", "gates/l0_factor", "lr", "epoch"):
            assert row[key] == wanted[key], (row["iter"], key)

    # By hand, from the windows: iteration i (from 1) trains at epoch (i - 1) / 4.
    for row in after:
        epoch = (row["iter"] - 1) / ITERATIONS_PER_EPOCH
        assert row["gates/bas_factor"] == pytest.approx(1 - 0.25 * epoch, rel=1e-12)
        l0_factor = min(max((epoch - 1) / 1.5, 0), 1)
        assert row["gates/l0_factor"] == pytest.approx(l0_factor, rel=1e-12)


def test_a_resumed_run_has_the_weights_of_an_uninterrupted_one(runs):
    """Bitwise, and so have the state of the optimiser and the queue of logits.

    What must be set for that: ``randomness.seed``; ``mmbas.SeedPerEpochHook`` (part of
    configs/default_runtime.py), since checkpoints hold no states of random number generators; in
    train_dataloader ``persistent_workers=False`` if there are workers, since running workers
    cannot be seeded; a checkpoint at the end of an epoch of EpochBasedTrainLoop. Config, versions,
    hardware, and the numbers of processes, workers and threads must be the same. This is a run on
    the CPU; a GPU needs ``randomness.deterministic=True`` as well.
    """
    whole, killed = runs
    for epoch in (2, 3):
        expected, actual = (load(run / f"epoch_{epoch}.pth") for run in (whole, killed))
        for key in ("state_dict", "optimizer", "param_schedulers"):
            assert_bitwise_equal(actual[key], expected[key], key)
        assert actual["meta"]["iter"] == expected["meta"]["iter"] == epoch * ITERATIONS_PER_EPOCH

    # Not because nothing happened: every epoch moved the weights and refilled the queue.
    first, last = (load(whole / f"epoch_{epoch}.pth")["state_dict"] for epoch in (1, 3))
    for key in ("backbone.layer3.2.gate.fc2.weight", "gate_losses.bas.queue._extra_state"):
        assert not torch.equal(first[key], last[key])


def test_resume_with_nothing_left_to_do_changes_nothing(runs):
    whole, _ = runs
    before = load(whole / "epoch_3.pth")
    result = run_tool("train", whole.parent / "tiny.py", "--work-dir", whole, "--resume")
    assert "epoch_3.pth" in result.stdout + result.stderr
    assert scalars(whole)[1:] in ([], [[]])
    after = load(whole / "epoch_3.pth")
    assert_bitwise_equal(after["state_dict"], before["state_dict"])
    assert after["meta"]["time"] == before["meta"]["time"]
    assert not (whole / "epoch_4.pth").exists()


EXPERIMENTS = sorted(
    path.name for path in CONFIGS.glob("*.py") if path.name != "default_runtime.py"
)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_can_be_interrupted(name):
    config = Config.fromfile(CONFIGS / name)
    assert config.randomness.seed is not None
    hooks = [*config.default_hooks.values(), *config.get("custom_hooks", [])]
    assert "mmbas.SeedPerEpochHook" in [hook["type"] for hook in hooks]
    loader = config.train_dataloader
    if config.train_cfg.get("by_epoch") and loader.num_workers > 0:
        assert not loader.persistent_workers
    # The oldest checkpoint is removed before the next one is written: a single one may be lost.
    assert config.default_hooks.checkpoint.get("max_keep_ckpts", -1) != 1
