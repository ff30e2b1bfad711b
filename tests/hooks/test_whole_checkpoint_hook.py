"""What a kill during the writing of a checkpoint leaves, and what is resumed from then."""

import os
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from hooks import runner_case
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner

from mmbas.hooks import WholeCheckpointHook
from mmbas.hooks.checkpoint_file import is_whole_checkpoint, newest_whole_checkpoint


@pytest.fixture
def folder(tmp_path):
    """Whole checkpoints of epochs 1 to 3, and one of the best epoch; 3 is named."""
    for age, name in enumerate(["epoch_3", "epoch_2", "epoch_1", "best_accuracy_epoch_2"]):
        torch.save(dict(state_dict=dict(weight=torch.zeros(1000))), tmp_path / f"{name}.pth")
        os.utime(tmp_path / f"{name}.pth", (1000 - age, 1000 - age))
    os.utime(tmp_path / "best_accuracy_epoch_2.pth", (2000, 2000))
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_3.pth"))
    return tmp_path


def cut_off(path):
    path.write_bytes(path.read_bytes()[:-30])


def correct(folder, *, resume=True, load_from=None):
    """What ``last_checkpoint`` names after the hook; None if it is not there."""
    logger = mock.Mock()
    runner = SimpleNamespace(
        work_dir=str(folder), logger=logger, _resume=resume, _load_from=load_from
    )
    WholeCheckpointHook().before_run(runner)
    record = folder / "last_checkpoint"
    assert not (folder / "last_checkpoint.partial").exists()
    return record.read_text() if record.exists() else None


def test_a_whole_checkpoint_stays(folder):
    torch.save({}, folder / "epoch_4.pth")  # written, but not named: the kill came between
    assert correct(folder) == str(folder / "epoch_3.pth")


def test_cut_off_checkpoint_is_passed_over(folder):
    cut_off(folder / "epoch_3.pth")
    assert correct(folder) == str(folder / "epoch_2.pth")
    cut_off(folder / "epoch_2.pth")
    assert correct(folder) == str(folder / "epoch_1.pth")


def test_named_checkpoint_that_was_removed(folder):
    (folder / "epoch_3.pth").unlink()
    assert correct(folder) == str(folder / "epoch_2.pth")


def test_empty_record(folder):
    (folder / "last_checkpoint").write_text("")
    assert correct(folder) == str(folder / "epoch_3.pth")


def test_checkpoints_in_another_folder(folder, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp("work")
    (work_dir / "last_checkpoint").write_text(str(folder / "epoch_9.pth"))
    assert correct(work_dir) == str(folder / "epoch_3.pth")


def test_nothing_whole_starts_from_scratch(folder):
    for name in ("epoch_1", "epoch_2", "epoch_3"):
        cut_off(folder / f"{name}.pth")
    assert correct(folder) is None  # the best one holds no optimiser
    assert correct(folder) is None


def test_nothing_is_touched_without_resuming_or_where_it_is_not_ours(folder):
    cut_off(folder / "epoch_3.pth")
    named = str(folder / "epoch_3.pth")
    assert correct(folder, resume=False) == named
    assert correct(folder, load_from="other.pth") == named
    for other in ("s3://bucket/epoch_3.pth", str(folder)):
        (folder / "last_checkpoint").write_text(other)
        assert correct(folder) == other


def test_whole_and_newest(folder):
    assert is_whole_checkpoint(folder / "epoch_1.pth")
    assert not is_whole_checkpoint("")
    assert not is_whole_checkpoint(folder / "none.pth")
    assert newest_whole_checkpoint(folder) == folder / "epoch_3.pth"
    assert newest_whole_checkpoint(folder / "none") is None


@pytest.mark.parametrize(("keep", "warned"), [(1, True), (2, False)])
def test_a_single_checkpoint_is_warned_about(keep, warned):
    logger = mock.Mock()
    runner = SimpleNamespace(hooks=[CheckpointHook(max_keep_ckpts=keep)], logger=logger)
    WholeCheckpointHook().before_train(runner)
    assert logger.warning.called == warned


def train(work_dir, name, **resume):
    """Three epochs of four iterations."""
    runner = Runner(
        model=runner_case.GatedModel(gate_losses=runner_case.GATE_LOSSES),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=runner_case.RandomImages(),
            batch_size=2,
            sampler=dict(type="DefaultSampler", shuffle=False),
            collate_fn=dict(type="default_collate"),
        ),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.01)),
        train_cfg=dict(by_epoch=True, max_epochs=3),
        custom_hooks=[dict(type="mmbas.WholeCheckpointHook")],
        experiment_name=f"{work_dir.name}_{name}",
        default_scope="mmengine",
        **resume,
    )
    first = []
    runner.register_hook(FirstIteration(first))
    runner.train()
    return first[0]


class FirstIteration(Hook):
    """Notes the iteration that training begins with."""

    def __init__(self, iterations):
        self.iterations = iterations

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.iterations.append(runner.iter)


def test_a_runner_resumes_from_the_whole_one(tmp_path):
    assert train(tmp_path, "first") == 0
    cut_off(tmp_path / "epoch_3.pth")
    (tmp_path / "last_checkpoint").write_text("")
    assert train(tmp_path, "second", resume=True) == 8  # after epoch 2
    assert is_whole_checkpoint(tmp_path / "epoch_3.pth")
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "epoch_3.pth")
