"""A work dir is renamed, copied or damaged between two starts of a training."""

import shutil

import pytest
import torch

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")

from helpers import call_tool, error_of, write_config


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The config of three epochs, and a work dir where two of them were trained."""
    folder = tmp_path_factory.mktemp("renamed")
    config = write_config(folder)
    train(config, folder / "run", "--cfg-options", "train_cfg.max_epochs=2")
    return config, folder / "run"


def train(config, work_dir, *arguments):
    return call_tool("train", config, "--work-dir", work_dir, *arguments)


def moved(run, tmp_path):
    """The run as if it had been renamed: its record names a folder that is gone."""
    new = tmp_path / "run2"
    shutil.copytree(run, new, copy_function=shutil.copyfile)  # as cp: other times
    (new / "last_checkpoint").write_text("/gone/run/epoch_2.pth")
    return new


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def epoch_of(path):
    return torch.load(path, map_location="cpu", weights_only=False)["meta"]["epoch"]


def test_a_renamed_work_dir_goes_on(trained, tmp_path):
    config, run = trained
    work_dir = moved(run, tmp_path)
    before = bytes_of(work_dir)
    train(config, work_dir, "--resume")
    after = bytes_of(work_dir)
    assert all(after[name] == before[name] for name in ("epoch_1.pth", "epoch_2.pth"))
    assert epoch_of(work_dir / "epoch_3.pth") == 3
    assert after["last_checkpoint"] == str(work_dir / "epoch_3.pth").encode()


def test_it_goes_on_instead_of_starting_from_pretrained_weights(trained, tmp_path):
    config, run = trained
    work_dir = moved(run, tmp_path)
    before = bytes_of(work_dir)
    train(config, work_dir, "--resume", "--cfg-options", f"load_from={run / 'epoch_1.pth'}")
    assert bytes_of(work_dir)["epoch_2.pth"] == before["epoch_2.pth"]


def test_nothing_whole_is_one_line_and_leaves_everything_as_it_is(trained, tmp_path):
    config, run = trained
    work_dir = moved(run, tmp_path)
    for name in ("epoch_1.pth", "epoch_2.pth"):
        (work_dir / name).write_bytes((work_dir / name).read_bytes()[:-30])
    before = bytes_of(work_dir)
    error = error_of("train", config, "--work-dir", work_dir, "--resume")
    assert error.startswith(
        f"error: expected a whole checkpoint in {work_dir} to resume from, but got only "
        "epoch_1.pth, epoch_2.pth"
    )
    assert bytes_of(work_dir) == before


def test_a_checkpoint_after_the_end_of_the_training_is_refused(trained, tmp_path):
    config, run = trained
    work_dir = moved(run, tmp_path)
    before = bytes_of(work_dir)
    for resume in ("--resume", f"--resume={work_dir / 'epoch_2.pth'}"):
        arguments = [config, "--work-dir", work_dir, resume, "--cfg-options"]
        error = error_of("train", *arguments, "train_cfg.max_epochs=1")
        assert "expected a checkpoint of at most epoch 1" in error
    assert bytes_of(work_dir) == before
