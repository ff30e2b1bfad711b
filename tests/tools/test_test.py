"""tools/test.py: its numbers are those that the images' own predictions give."""

import json

import pytest
import torch

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")

from helpers import (
    assert_help_shows_examples,
    assert_origin,
    call_tool,
    error_of,
    json_of,
    run_tool,
    write_checkpoint,
    write_config,
)
from mmengine.config import Config
from mmengine.runner import Runner


def test_help_shows_examples():
    assert_help_shows_examples("test")


@pytest.fixture(scope="module")
def tested(tmp_path_factory):
    """Result of the tool, and the predictions of its 40 images, one by one."""
    folder = tmp_path_factory.mktemp("test")
    config, checkpoint = write_config(folder), folder / "untrained.pth"
    model = write_checkpoint(config, checkpoint)
    arguments = [config, checkpoint, "--work-dir", folder / "run"]
    arguments += ["--save-macs", folder / "macs.json", "--show-macs", folder / "macs.png"]
    result = json_of(run_tool, "test", *arguments, out=folder / "test.json")

    loader = dict(Config.fromfile(config).test_dataloader, batch_size=1)
    with torch.no_grad():
        samples = [model.test_step(data)[0] for data in Runner.build_dataloader(loader)]
    assert len(samples) == 40
    assert_origin(result, "test", config)
    assert result["checkpoint"] == str(checkpoint)
    result["table"] = json.loads((folder / "macs.json").read_text())
    assert (folder / "macs.png").read_bytes().startswith(b"\x89PNG")
    return result, samples


def test_accuracy_is_a_fraction(tested):
    result, samples = tested
    right = [bool(sample.pred_label == sample.gt_label) for sample in samples]
    assert result["accuracy"] == pytest.approx(sum(right) / len(right), abs=1e-6)
    assert result["accuracy/top1"] == pytest.approx(100 * result["accuracy"])


def test_macs_are_the_mean_over_the_images(tested):
    result, samples = tested
    macs = torch.tensor([sample.macs for sample in samples], dtype=torch.float64)
    assert len(macs.unique()) > 1
    assert result["macs/average"] == pytest.approx(float(macs.mean()), rel=1e-9)
    assert result["macs/dense"] == samples[0].dense_macs == 40_561_024
    assert result["macs/fraction"] == pytest.approx(
        result["macs/average"] / result["macs/dense"], rel=1e-12
    )


def test_table_holds_every_image(tested):
    result, samples = tested
    assert [row["macs"] for row in result["table"]] == [sample.macs for sample in samples]


def test_a_picture_of_more_images_than_there_are_shows_all(tmp_path):
    config, checkpoint = write_config(tmp_path), tmp_path / "untrained.pth"
    write_checkpoint(config, checkpoint)
    picture = tmp_path / "macs.png"
    arguments = [config, checkpoint, "--work-dir", tmp_path / "run"]
    arguments += ["--save-macs", tmp_path / "macs.json", "--show-macs", picture]
    assert "--num-images >= 1" in error_of("test", *arguments, "--num-images", "0")
    printed = call_tool("test", *arguments, "--num-images", "50").stdout
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert printed.endswith(f"written: {tmp_path / 'macs.json'}\nwritten: {picture}\n")


def test_sliced_execution_changes_no_metric(tested, tmp_path):
    result, samples = tested
    config, checkpoint = write_config(tmp_path), tmp_path / "untrained.pth"
    write_checkpoint(config, checkpoint)  # the same weights: both are seeded
    arguments = [config, checkpoint, "--work-dir", tmp_path / "run", "--sliced"]
    arguments += ["--save-macs", tmp_path / "macs.json"]
    sliced = json_of(call_tool, "test", *arguments, out=tmp_path / "test.json")

    metrics = [key for key in result if key.startswith(("accuracy", "macs/", "gates/"))]
    assert len(metrics) >= 8
    for key in metrics:
        assert sliced[key] == pytest.approx(result[key], abs=1e-9), key
    rows = json.loads((tmp_path / "macs.json").read_text())
    assert [row["macs"] for row in rows] == [sample.macs for sample in samples]


def test_sliced_execution_in_bfloat16(tested, tmp_path, monkeypatch):
    result, _ = tested
    monkeypatch.setenv("MMBAS_NATIVE_BF16_KERNELS", "portable")
    config, checkpoint = write_config(tmp_path), tmp_path / "untrained.pth"
    write_checkpoint(config, checkpoint)
    arguments = [config, checkpoint, "--work-dir", tmp_path / "run", "--sliced"]
    arguments += ["--dtype", "bfloat16"]
    sliced = json_of(call_tool, "test", *arguments, out=tmp_path / "test.json")
    assert sliced["macs/average"] == pytest.approx(result["macs/average"], rel=0.02)


def test_a_dtype_without_sliced_execution_is_refused(tmp_path):
    config, checkpoint = write_config(tmp_path), tmp_path / "untrained.pth"
    write_checkpoint(config, checkpoint)
    error = error_of("test", config, checkpoint, "--dtype", "bfloat16")
    assert error == "error: expected --sliced with --dtype, but got --dtype alone"


def test_picture_without_the_table_is_refused(tmp_path):
    config, checkpoint = write_config(tmp_path), tmp_path / "untrained.pth"
    write_checkpoint(config, checkpoint)
    error = error_of("test", config, checkpoint, "--show-macs", tmp_path / "macs.png")
    assert error == "error: expected --save-macs FILE with --show-macs, but got none"


def test_augmentation_that_the_config_does_not_describe_is_refused(tmp_path):
    config, checkpoint = write_config(tmp_path), tmp_path / "untrained.pth"
    write_checkpoint(config, checkpoint)
    error = error_of("test", config, checkpoint, "--work-dir", tmp_path / "run", "--tta")
    assert error.startswith("error: expected tta_pipeline and tta_model in the config for --tta")


def test_shares_of_gates_come_from_all_images(tested):
    result, samples = tested
    gates = torch.stack([sample.gates for sample in samples]).double()
    assert gates.shape == (40, 336)
    rates = gates.mean(dim=0)
    expected = {
        "gates/always_on": float((rates == 1).double().mean()),
        "gates/always_off": float((rates == 0).double().mean()),
        "gates/conditional": float(((rates > 0) & (rates < 1)).double().mean()),
        "macs/open_fraction": float(gates.mean()),
    }
    for key, value in expected.items():
        assert value > 0
        assert result[key] == pytest.approx(value, abs=1e-6), key


@pytest.mark.parametrize("tool", ["test", "reduce", "match_macs", "analyze_gates", "export_onnx"])
def test_a_head_of_another_number_of_classes_is_refused(tmp_path, tool):
    write_checkpoint(write_config(tmp_path), tmp_path / "ten.pth")
    seven = write_config(tmp_path, "model = dict(head=dict(num_classes=7))", name="seven.py")
    more = {
        "test": ["--work-dir", tmp_path / "run"],
        "reduce": ["--out", tmp_path / "reduced.pth"],
        "match_macs": ["--out", tmp_path / "matched.pth", "--target", "0.5"],
        "analyze_gates": ["--out-dir", tmp_path / "report"],
        "export_onnx": [tmp_path / "seven.onnx"],
    }
    error = error_of(tool, seven, tmp_path / "ten.pth", *more[tool])
    assert "2 tensors of" in error
    assert "e.g. head.fc.weight: expected (7, 64), got (10, 64)" in error


def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
    missing = tmp_path / "missing.pth"
    error = error_of("test", write_config(tmp_path), missing, "--work-dir", tmp_path / "run")
    assert error == f"error: expected a checkpoint at {missing}, but there is no such file"
    assert not (tmp_path / "run").exists()


def test_norms_recalibrated_on_training_images(tmp_path):
    config, checkpoint = write_config(tmp_path), tmp_path / "untrained.pth"
    write_checkpoint(config, checkpoint)
    before = checkpoint.read_bytes()
    arguments = [config, checkpoint, "--work-dir", tmp_path / "run"]
    as_saved, anew, again, sliced = (
        json_of(call_tool, "test", *arguments, *more, out=tmp_path / "test.json")
        for more in (
            [],
            *[["--recalibrate-norms", "32"]] * 2,
            ["--recalibrate-norms", "32", "--sliced"],
        )
    )
    assert anew["macs/average"] != as_saved["macs/average"]
    assert again["macs/average"] == anew["macs/average"]
    assert sliced["macs/average"] == pytest.approx(anew["macs/average"], rel=0.01)
    assert checkpoint.read_bytes() == before
    assert "--recalibrate-norms 32" in anew["command"]
    refused = error_of("test", *arguments, "--recalibrate-norms", "0")
    assert "expected num_images >= 1, but got 0" in refused
