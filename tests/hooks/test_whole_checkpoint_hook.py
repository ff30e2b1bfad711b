"""What a kill during the writing of a checkpoint leaves, and what is resumed from then."""

import os
import shutil
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


def save(path, iterations=0):
    torch.save(dict(meta=dict(iter=iterations), state_dict=dict(weight=torch.zeros(1000))), path)


def correct(folder, *, resume=True, load_from=None):
    """What ``last_checkpoint`` names after the hook; None if it is not there."""
    runner = SimpleNamespace(
        work_dir=str(folder), logger=mock.Mock(), _resume=resume, _load_from=load_from
    )
    WholeCheckpointHook().before_run(runner)
    record = folder / "last_checkpoint"
    assert not list(folder.glob("*.partial"))
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


@pytest.mark.parametrize("record", [b"", b"\n", bytes(20), b"\xff\xfe", b"..", b"/"])
def test_empty_or_senseless_record(folder, record):
    (folder / "last_checkpoint").write_bytes(record)
    assert correct(folder) == str(folder / "epoch_3.pth")


def test_renamed_folder(folder, tmp_path_factory):
    moved = tmp_path_factory.mktemp("moved") / "run"
    folder.rename(moved)
    assert correct(moved) == str(moved / "epoch_3.pth")


def test_copied_folder_goes_on_by_itself(folder, tmp_path_factory):
    copy = tmp_path_factory.mktemp("copies") / "run"
    shutil.copytree(folder, copy)
    (folder / "epoch_9.pth").write_bytes((folder / "epoch_3.pth").read_bytes())
    (folder / "last_checkpoint").write_text(str(folder / "epoch_9.pth"))
    assert correct(copy) == str(copy / "epoch_3.pth")
    (copy / "last_checkpoint").write_text(str(folder / "epoch_9.pth"))  # another run's
    assert correct(copy) == str(copy / "epoch_3.pth")


def test_checkpoints_in_another_folder(folder, tmp_path_factory):
    work_dir = tmp_path_factory.mktemp("work")
    (work_dir / "last_checkpoint").write_text(str(folder / "epoch_2.pth"))
    assert correct(work_dir) == str(folder / "epoch_2.pth")
    (work_dir / "last_checkpoint").write_text(str(folder / "epoch_9.pth"))
    assert correct(work_dir) == str(folder / "epoch_3.pth")


def test_nothing_saved_yet_starts_from_scratch(tmp_path):
    assert correct(tmp_path) is None
    (tmp_path / "last_checkpoint").touch()
    assert correct(tmp_path) == ""


def test_nothing_whole_is_an_error_that_names_what_is_there(folder):
    for name in ("epoch_1", "epoch_2", "epoch_3"):
        cut_off(folder / f"{name}.pth")
    # The best one holds no optimiser.
    names = r"best_accuracy_epoch_2\.pth, epoch_1\.pth, epoch_2\.pth, epoch_3\.pth"
    with pytest.raises(ValueError, match=f"expected a whole checkpoint in .*{names}"):
        correct(folder)
    assert (folder / "last_checkpoint").read_text() == str(folder / "epoch_3.pth")


def test_record_of_a_lost_checkpoint_is_an_error_that_names_it(tmp_path):
    (tmp_path / "last_checkpoint").write_text("/gone/epoch_3.pth")
    with pytest.raises(ValueError, match=r"expected the checkpoint /gone/epoch_3\.pth"):
        correct(tmp_path)
    assert (tmp_path / "last_checkpoint").read_text() == "/gone/epoch_3.pth"


def test_nothing_is_touched_without_resuming_or_where_it_is_not_ours(folder):
    cut_off(folder / "epoch_3.pth")
    named = str(folder / "epoch_3.pth")
    assert correct(folder, resume=False) == named
    assert correct(folder, load_from="other.pth") == named
    (folder / "sharded").mkdir()
    for other in ("s3://bucket/epoch_3.pth", str(folder / "sharded")):
        (folder / "last_checkpoint").write_text(other)
        assert correct(folder) == other


def test_whole_and_newest(folder):
    assert is_whole_checkpoint(folder / "epoch_1.pth")
    assert not is_whole_checkpoint("")
    assert not is_whole_checkpoint(folder / "none.pth")
    assert newest_whole_checkpoint(folder) == folder / "epoch_3.pth"
    assert newest_whole_checkpoint(folder / "none") is None


def test_newest_is_by_number_not_by_name_or_time(tmp_path):
    for age, name in enumerate(["epoch_10", "epoch_009", "epoch_2"]):
        save(tmp_path / f"{name}.pth")
        os.utime(tmp_path / f"{name}.pth", (1000 + age, 1000 + age))
    assert newest_whole_checkpoint(tmp_path) == tmp_path / "epoch_10.pth"
    save(tmp_path / "epoch_011.pth")
    assert newest_whole_checkpoint(tmp_path) == tmp_path / "epoch_011.pth"


@pytest.mark.parametrize(("iterations", "newest"), [(70, "iter_70.pth"), (50, "epoch_3.pth")])
def test_epochs_and_iterations_are_compared_by_what_they_store(tmp_path, iterations, newest):
    save(tmp_path / "epoch_2.pth", 40)
    save(tmp_path / "epoch_3.pth", 60)
    save(tmp_path / f"iter_{iterations}.pth", iterations)
    assert newest_whole_checkpoint(tmp_path) == tmp_path / newest


def test_best_checkpoint_of_a_copied_run_stays(folder):
    hub = SimpleNamespace(
        runtime_info=dict(
            best_ckpt="/copied/best_accuracy_epoch_2.pth", best_ckpt_top5="/copied/best_top5.pth"
        )
    )
    hub.update_info = hub.runtime_info.__setitem__
    hook = CheckpointHook(max_keep_ckpts=2)
    runner = SimpleNamespace(
        hooks=[hook], logger=mock.Mock(), message_hub=hub, work_dir=str(folder)
    )
    WholeCheckpointHook().before_train(runner)
    assert hub.runtime_info == dict(best_ckpt=str(folder / "best_accuracy_epoch_2.pth"))


@pytest.mark.parametrize(("keep", "warned"), [(1, True), (2, False)])
def test_a_single_checkpoint_is_warned_about(keep, warned):
    logger = mock.Mock()
    runner = SimpleNamespace(
        hooks=[CheckpointHook(max_keep_ckpts=keep)],
        logger=logger,
        message_hub=SimpleNamespace(runtime_info={}),
        work_dir="",
    )
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
