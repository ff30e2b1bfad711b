"""tools/reduce.py: what is removed is known, and the written config loads it everywhere."""

import json
import shutil
from pathlib import Path
from unittest import mock

import pytest

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")

import torch
from helpers import (
    CONFIGS,
    assert_help_shows_examples,
    assert_origin,
    build_model,
    call_tool,
    error_of,
    json_of,
    run_tool,
    write_config,
)
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmbas.datasets.street_scenes import write_street_scenes
from mmbas.gates import named_gates


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("reduce")


@pytest.fixture(scope="module")
def config(folder):
    return write_config(folder)


@pytest.fixture(scope="module")
def checkpoint(folder, config):
    path = folder / "gated.pth"
    return write_half_decided(build_model(config), path, classes=tuple("0123456789"))


def write_half_decided(model, path, *, classes):
    """A quarter of each block's channels never opens, another quarter always is open."""
    for gate in named_gates(model).values():
        quarter = gate.num_gates // 4
        gate.fc2.weight.data[: 2 * quarter] = 0
        gate.fc2.bias.data[:quarter] = -5.0
        gate.fc2.bias.data[quarter : 2 * quarter] = 5.0
    meta = {"dataset_meta": {"classes": classes}, "epoch": 3, "seed": 0}
    torch.save({"meta": meta, "state_dict": model.state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def reduced(folder, config, checkpoint):
    """Result of the tool, and the reduced checkpoint."""
    out = folder / "small" / "reduced.pth"
    json = folder / "result.json"
    result = json_of(
        *(run_tool, "reduce", config, checkpoint, "--out", out, "--min-rate", "0"),
        *("--data", "test"),
        out=json,
    )
    return result, out


def test_help_shows_examples():
    assert_help_shows_examples("reduce")


def test_known_channels_go_and_nothing_changes(reduced, config):
    result, out = reduced
    assert result["num_gates"] == 336
    assert result["num_removed"] >= 336 // 4
    assert result["num_folded"] >= 336 // 4
    before, after = result["before"], result["after"]
    assert before["num_images"] == after["num_images"] == result["num_calibration_images"] == 40
    assert after["accuracy/top1"] == before["accuracy/top1"]
    assert after["params"] < before["params"]
    assert after["macs/dense"] < 0.8 * before["macs/dense"]
    # Rows of the gate networks, and where no channel is left one that stands for none.
    assert after["macs/average"] == pytest.approx(before["macs/average"], rel=0.02)
    assert_origin(result, "reduce", config)
    meta = torch.load(out, weights_only=False)["meta"]
    assert meta["dataset_meta"]["classes"] == tuple("0123456789")
    assert "block_widths" in meta["cfg"]
    assert "seed" not in meta


def test_written_config_tests_like_the_original(reduced, config, checkpoint, tmp_path):
    result, out = reduced
    tested = json_of(call_tool, "test", out.with_suffix(".py"), out, out=tmp_path / "test.json")
    for key, value in result["after"].items():
        if key not in ("params", "num_images"):
            assert tested[key] == pytest.approx(value), key
    original = json_of(call_tool, "test", config, checkpoint, out=tmp_path / "original.json")
    assert tested["accuracy"] == original["accuracy"]


def test_written_config_finds_its_checkpoint_from_anywhere(reduced, tmp_path, monkeypatch):
    out = reduced[1]
    moved = shutil.copytree(out.parent, tmp_path / "moved here")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "heir.py").write_text('_base_ = "moved here/reduced.py"', encoding="utf-8")
    assert Config.fromfile(out.with_suffix(".py")).load_from == str(out)
    for path in ("moved here/reduced.py", "heir.py"):
        assert Path(Config.fromfile(path).load_from) == moved / "reduced.pth"


def test_written_config_counts(reduced, tmp_path):
    result, out = reduced
    counted = json_of(call_tool, "count_macs", out.with_suffix(".py"), out=tmp_path / "macs.json")
    assert counted["params"] == result["after"]["params"]
    assert counted["dense_macs"] == result["after"]["macs/dense"]


@pytest.mark.slow
def test_written_config_trains_from_the_reduced_checkpoint(reduced, tmp_path):
    _, out = reduced
    run = run_tool("train", out.with_suffix(".py"), "--work-dir", tmp_path)
    assert "loading 1" in run.stdout
    assert (tmp_path / "epoch_3.pth").is_file()


def test_original_checkpoint_does_not_load_into_the_reduced_config(reduced, checkpoint):
    _, out = reduced
    message = error_of("test", out.with_suffix(".py"), checkpoint)
    assert "another shape" in message
    assert "block_widths of the config" in message


def test_specialist_for_classes(config, checkpoint, tmp_path):
    out = tmp_path / "two.pth"
    result = json_of(
        *(call_tool, "reduce", config, checkpoint, "--out", out, "--classes", "3", "8"),
        *("--num-images", "3", "--min-rate", "0.5", "--max-rate", "0.5"),
        out=tmp_path / "two.json",
    )
    assert result["classes"] == [3, 8]
    assert result["num_calibration_images"] == 3
    assert 0 < result["before"]["num_images"] == result["after"]["num_images"] < 40
    # Every gate is removed or folded, so the network is static and has no gate losses.
    assert result["num_removed"] + result["num_folded"] == 336
    assert result["after"]["macs/fraction"] == 1
    assert Config.fromfile(out.with_suffix(".py")).model.gate_losses is None


def test_training_of_the_reduced_network_leaves_the_original_alone(config, checkpoint, tmp_path):
    """A config that a training wrote names its work dir, and to go on there if it was resumed."""
    written = Config.fromfile(config)
    written.work_dir, written.resume = "work_dirs/original", True
    written.dump(tmp_path / "written.py")
    arguments = ("reduce", tmp_path / "written.py", checkpoint, "--num-images", "1")
    printed = call_tool(*arguments, "--out", tmp_path / "reduced.pth").stdout
    written_files = f"{tmp_path / 'reduced.pth'}, and its config {tmp_path / 'reduced.py'}"
    assert f"written: {written_files}" in printed
    reduced = Config.fromfile(tmp_path / "reduced.py")
    assert reduced.get("work_dir") is None
    assert not reduced.resume
    assert reduced.load_from == str(tmp_path / "reduced.pth")
    out = ("--work-dir", tmp_path / "test")
    call_tool("test", tmp_path / "reduced.py", tmp_path / "reduced.pth", *out)


@pytest.fixture(scope="module")
def segmentor(tmp_path_factory):
    """Config and checkpoint of a gated PSPNet for a few small street scenes."""
    pytest.importorskip("mmseg")
    folder = tmp_path_factory.mktemp("segmentor")
    write_street_scenes(folder / "data", num_train=2, num_val=3, size=(48, 96))
    config = Config.fromfile(CONFIGS / "pspnet_r18_bas_street_scenes.py")
    for loader in ("train_dataloader", "test_dataloader"):
        config[loader].dataset.data_root = str(folder / "data")
    config.model.decode_head.channels = 16
    config.dump(folder / "gated.py")
    torch.manual_seed(0)
    init_default_scope(config.default_scope)
    classes = tuple(f"class {i}" for i in range(19))
    checkpoint = folder / "gated.pth"
    write_half_decided(MODELS.build(config.model).eval(), checkpoint, classes=classes)
    return folder / "gated.py", checkpoint


def test_segmentor_from_reduction_to_export(segmentor, tmp_path):
    config, checkpoint = segmentor
    once, twice = tmp_path / "once.pth", tmp_path / "twice.pth"
    arguments = ("reduce", config, checkpoint, "--out", once, "--data", "test", "--min-rate", "0")
    printed = call_tool(*arguments, "--out-json", tmp_path / "once.json").stdout
    result = json.loads((tmp_path / "once.json").read_text(encoding="utf-8"))
    before, after = result["before"], result["after"]
    assert result["num_gates"] == 1920
    assert result["num_removed"] >= 1920 // 4
    assert after["params"] < before["params"]
    assert 0.5 < after["macs/dense"] / before["macs/dense"] < 0.9
    for key in ("mIoU", "aAcc", "mAcc"):
        assert after[key] == pytest.approx(before[key], abs=0.2)  # a pixel or two
        assert f"\n{key} " in printed

    tested = json_of(call_tool, "test", once.with_suffix(".py"), once, out=tmp_path / "test.json")
    assert {key: tested[key] for key in after if key in tested} == pytest.approx(
        {key: value for key, value in after.items() if key not in ("params", "num_images")}
    )
    counted = json_of(
        *(call_tool, "count_macs", once.with_suffix(".py"), "--shape", "48", "96"),
        out=tmp_path / "macs.json",
    )
    assert counted["params"] == after["params"]
    assert counted["dense_macs"] == after["macs/dense"]

    again = ("reduce", once.with_suffix(".py"), once, "--out", twice, "--data", "test")
    bounds = ("--min-rate", "0.5", "--max-rate", "0.5", "--classes", "road", "car")
    static = json_of(call_tool, *again, *bounds, out=tmp_path / "twice.json")
    assert static["before"]["num_images"] == 3  # a road is in each
    assert static["before"]["mIoU"] == pytest.approx(after["mIoU"])
    assert static["after"]["macs/fraction"] == 1
    assert static["after"]["params"] < after["params"]

    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    exported = json_of(
        *(call_tool, "export_onnx", twice.with_suffix(".py"), twice, tmp_path / "twice.onnx"),
        *("--repeats", "1"),
        out=tmp_path / "onnx.json",
    )
    assert exported["max_rel_diff"] < 1e-4


def test_wrong_input_is_one_line(config, checkpoint, tmp_path):
    arguments = ("reduce", config, checkpoint, "--out")
    assert "to end in .pth" in error_of(*arguments, tmp_path / "reduced")
    out = tmp_path / "reduced.pth"
    assert "expected a class in 0, 1," in error_of(*arguments, out, "--classes", "cat")
    # Before the calibration, which takes minutes.
    with mock.patch("mmbas.compress.chosen_images.measure_open_rates", side_effect=AssertionError):
        assert "min_rate <= max_rate" in error_of(*arguments, out, "--min-rate", "2")
        message = error_of(*arguments, out, "--num-images", "-1")
        assert "expected --num-images >= 1, but got -1" in message
        assert "would overwrite" in error_of(*arguments, checkpoint)
        assert "would overwrite" in error_of(*arguments, config.with_suffix(".pth"))
    assert not out.exists()
