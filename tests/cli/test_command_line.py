"""What the tools share: shapes, data roots, results on disk."""

import errno
import json
import re
import shlex
import sys
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmbas.backbones import GatedResNetCifar
from mmbas.cli.command_line import (
    checked_checkpoint,
    format_table,
    run_tool,
    with_origin,
    write_json,
)
from mmbas.cli.data_sets import check_data_roots, input_shape
from mmbas.cli.environment import describe
from mmbas.cli.trained_model import load_weights, save_checkpoint
from mmbas.losses import BetaPrior
from mmbas.registry import MODELS


def pipeline(*transforms):
    return Config(dict(train_dataloader=dict(dataset=dict(pipeline=list(transforms)))))


def test_input_shape_is_the_crop_unless_given():
    crop = pipeline(dict(type="RandomCrop", crop_size=(448, 672)), dict(type="PackInputs"))
    assert input_shape(crop, None) == (448, 672)
    assert input_shape(crop, [224]) == (224, 224)
    assert input_shape(crop, [512, 1024]) == (512, 1024)
    assert input_shape(pipeline(dict(type="RandomResizedCrop", scale=224)), None) == (224, 224)
    with pytest.raises(ValueError, match="--shape HEIGHT WIDTH"):
        input_shape(pipeline(dict(type="PackInputs")), None)


def test_missing_data_root_is_named(tmp_path):
    def config(root, **dataset):
        return Config(dict(train_dataloader=dict(dataset=dict(data_root=str(root), **dataset))))

    check_data_roots(config(tmp_path, type="ImageNet"), ["train_dataloader"])
    check_data_roots(config(tmp_path / "no", type="CIFAR10"), ["train_dataloader"])  # downloads
    wrapped = Config(
        dict(
            val_dataloader=dict(
                dataset=dict(
                    type="RepeatDataset",
                    dataset=dict(type="ImageNet", data_root=str(tmp_path / "no")),
                )
            )
        )
    )
    for broken, loader in (
        (config(tmp_path / "no", type="ImageNet"), "train_dataloader"),
        (wrapped, "val_dataloader"),
    ):
        with pytest.raises(ValueError, match=f"data of {loader} in the folder .*no, but it does"):
            check_data_roots(broken, [loader])


def test_result_says_where_it_came_from(tmp_path):
    path = tmp_path / "deep" / "result.json"
    numbers = {"macs": 3, "mIoU": np.float32(0.5)}
    write_json(str(path), with_origin(numbers, "configs/some.py"))
    result = json.loads(path.read_text())
    assert result["macs"] == 3
    assert result["mIoU"] == 0.5
    assert result["config"] == "configs/some.py"
    assert result["command"].startswith("python ")
    assert list(path.parent.iterdir()) == [path]  # nothing half-written
    write_json(None, result)


def test_description_names_commit_versions_hardware():
    description = describe()
    assert description["commit"] is None or re.match(r"[0-9a-f]{40}", description["commit"])
    assert {"python", "torch", "numpy", "scipy"} <= set(description["versions"])
    assert description["hardware"]["threads"] >= 1


def test_table():
    table = format_table(["", "ms"], [["dense", "1.5"], ["gated", "10.0"]])
    assert table == "         ms\n-----------\ndense   1.5\ngated  10.0"


def test_input_that_mmbas_refuses_is_one_line(capsys):
    with pytest.raises(SystemExit) as stopped:
        run_tool(lambda: BetaPrior(a=-1))
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: expected a > 0")
    assert error.count("\n") == 1


def test_wrapped_by_a_registry_it_is_one_line_too(capsys):
    with pytest.raises(SystemExit):
        run_tool(lambda: MODELS.build(dict(type="mmbas.GatedResNet", depth=20)))
    assert "expected depth in" in capsys.readouterr().err


def test_errors_of_others_keep_their_traceback():
    with pytest.raises(ValueError, match="invalid literal"):
        run_tool(lambda: int("12a"))


def test_missing_network_says_what_to_do(capsys):
    def download():
        raise URLError("no route")

    with pytest.raises(SystemExit):
        run_tool(download)
    assert "put the files in place first, see docs/data.md" in capsys.readouterr().err


def test_checkpoint_without_gates_is_refused(tmp_path):
    path = str(tmp_path / "plain.pth")
    torch.save(dict(state_dict=GatedResNetCifar(20, gate=None).state_dict()), path)
    load_weights(GatedResNetCifar(20, gate=None), path)
    with pytest.raises(ValueError, match=r"none of their 72 tensors, e\.g\. layer1\.0\.gate"):
        load_weights(GatedResNetCifar(20), path)


def test_checkpoint_must_be_whole(tmp_path):
    path = tmp_path / "epoch_1.pth"
    with pytest.raises(ValueError, match="expected a checkpoint at .*no such file"):
        checked_checkpoint(str(path))
    torch.save(dict(state_dict=dict(weight=torch.zeros(1000))), path)
    assert checked_checkpoint(str(path)) == str(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is none, or was cut off"):
        checked_checkpoint(str(path))


@pytest.mark.parametrize("last", [["--out-json", "a b.json"], ["--out-json=a.json"], []])
def test_the_recorded_command_can_be_pasted(monkeypatch, last):
    arguments = ["my config.py", "--cfg-options", "model.head={'a': 1}", 'x="$HOME"', "y=[1, 2]"]
    monkeypatch.setattr(sys, "argv", ["tools/test.py", *arguments, *last])
    command = with_origin({}, "my config.py")["command"]
    assert shlex.split(command) == ["python", "tools/test.py", *arguments]


def raised(error):
    def main():
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "a.pth"), "space to write a.pth"),
        (OSError(errno.ENOSPC, "No space left on device"), "space to write a file"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "a.pth"), "Disk quota exceeded"),
        (OSError(errno.EROFS, "Read-only file system", "a.pth"), "a.pth: Read-only file system"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "aaa"), "aaa: File name too long"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.jpg"), "a.jpg: No such file"),
        (FileNotFoundError("file a.py does not exist"), "file a.py does not exist"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "reset by peer"),
        (TimeoutError(), "TimeoutError"),
        (RuntimeError("[enforce fail] .\nPytorchStreamWriter failed writing file data/0"), "disk"),
        (RuntimeError("batched_nms requires mmcv to be compiled with ops."), "custom_imports=dict"),
        (RuntimeError("unable to write </torch_1>: No space left on device (28)"), "disk full"),
    ],
)
def test_every_error_of_the_operating_system_is_one_line(capsys, error, message):
    with pytest.raises(SystemExit) as stopped:
        run_tool(raised(error))
    assert stopped.value.code == 2
    written = capsys.readouterr().err
    assert written.startswith("error: expected ")
    assert message in written
    assert written.count("\n") == 1


def test_other_runtime_errors_keep_their_traceback():
    with pytest.raises(RuntimeError, match="a bug"):
        run_tool(raised(RuntimeError("a bug")))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, capsys):
    for name, write in (
        ("a.json", lambda: write_json(str(tmp_path / "a.json"), {"macs": 3})),
        ("a.pth", lambda: save_checkpoint(tmp_path / "a.pth", meta={}, state_dict={})),
    ):
        (tmp_path / f"{name}.partial").symlink_to("/dev/full")
        with pytest.raises(SystemExit):
            run_tool(write)
        assert "error: expected space to write" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


class BrokenImages(torch.utils.data.Dataset):
    """Reading fails, in a worker."""

    def __init__(self, error):
        self.error = error

    def __len__(self):
        return 1

    def __getitem__(self, index):
        if self.error == "refused":
            return BetaPrior(a=-1)
        if self.error == "missing":
            return Path("missing.jpg").read_bytes()
        return int("12a")


@pytest.mark.parametrize(
    ("error", "message"),
    [("refused", "error: expected a > 0 and b > 0"), ("missing", "No such file or directory")],
)
def test_an_error_in_a_worker_is_one_line(capsys, error, message):
    loader = torch.utils.data.DataLoader(BrokenImages(error), num_workers=1)
    with pytest.raises(SystemExit):
        run_tool(lambda: list(loader))
    written = capsys.readouterr().err
    assert message in written
    assert written.count("\n") == 1


def test_a_bug_in_a_worker_keeps_its_traceback():
    loader = torch.utils.data.DataLoader(BrokenImages("bug"), num_workers=1)
    with pytest.raises(ValueError, match="invalid literal"):
        run_tool(lambda: list(loader))
