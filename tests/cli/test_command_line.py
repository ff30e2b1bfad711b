"""What the tools share: shapes, data roots, results on disk."""

import json
import re
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
from mmbas.cli.trained_model import load_weights
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
