"""tools/analyze_gates.py: the report of a model, and what it refuses."""

import json
import shutil

import pytest
import torch

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")

from helpers import (
    CONFIGS,
    assert_help_shows_examples,
    assert_origin,
    call_tool,
    error_of,
    json_of,
    write_checkpoint,
    write_config,
)
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmbas.datasets.street_scenes import write_street_scenes


def test_help_shows_examples():
    assert_help_shows_examples("analyze_gates")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    config, checkpoint = write_config(folder), folder / "epoch_3.pth"
    write_checkpoint(config, checkpoint)
    return config, checkpoint


@pytest.fixture(scope="module")
def analyzed(model, tmp_path_factory):
    """The result of the tool for two models and two checkpoints, 21 of 40 images."""
    config, checkpoint = model
    folder = tmp_path_factory.mktemp("gates")
    arguments = [config, checkpoint, "--compare", config, checkpoint, "--names", "BAS", "L0"]
    later = [folder / "epoch_10.pth", folder / "epoch_5.pth"]  # as a shell sorts them
    for path in later:
        shutil.copy(checkpoint, path)
    arguments += ["--over-training", *later, "--gates", "layer2.0:3", "layer1.0:0"]
    arguments += ["--num-images", "21", "--out-dir", folder / "report"]
    result = json_of(call_tool, "analyze_gates", *arguments, out=folder / "result.json")
    return result, folder / "report"


def test_result_says_where_it_comes_from(analyzed, model):
    result, folder = analyzed
    assert_origin(result, "analyze_gates", model[0])
    numbers = json.loads((folder / "gates.json").read_text(encoding="utf-8"))
    assert numbers["checkpoints"] == {"BAS": str(model[1]), "L0": str(model[1])}
    assert numbers["commit"] == result["commit"]


def test_models_stand_side_by_side(analyzed):
    result, folder = analyzed
    first, second = result["models"]
    assert (first["name"], second["name"]) == ("BAS", "L0")
    assert first["num_images"] == 21
    assert first["dense_macs"] == 40_561_024
    assert {**first, "name": "L0"} == second
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "21 images, 10 classes" in page
    assert "Digits, val_dataloader" in page


def test_metrics_of_the_host_run_along(analyzed):
    result, folder = analyzed
    numbers = json.loads((folder / "gates.json").read_text(encoding="utf-8"))
    correct = numbers["models"][0]["images"]["correct"]
    expected = 100 * sum(correct) / len(correct)
    assert result["models"][0]["metrics"] == {"accuracy/top1": pytest.approx(expected, abs=1e-4)}


def test_the_result_says_whether_hard_images_use_more(analyzed):
    result, folder = analyzed
    numbers = json.loads((folder / "gates.json").read_text(encoding="utf-8"))
    assert result["models"][0]["difficulty"] == numbers["figures"]["difficulty"]
    assert result["models"][0]["difficulty"]["with_loss"]["num_images"] == 21


def test_gates_of_figure_1b(analyzed):
    _, folder = analyzed
    numbers = json.loads((folder / "gates.json").read_text(encoding="utf-8"))
    shown = numbers["figures"]["figure_1b"]
    assert [(row["layer"], row["gate"]) for row in shown] == [("layer2.0", 3), ("layer1.0", 0)]
    assert shown[0]["checkpoints"] == ["epoch 5", "epoch 10"]
    rates = numbers["models"][0]["gates"]["layer2.0"]["open_rate"]
    assert shown[0]["open_rates"] == [rates[3]] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--names", "a", "b"], "expected 1 --names, one per model, but got 2"),
        (["--num-images", "41"], "expected --num-images from 1 to 40, but got 41"),
        (["--gates", "layer9:0"], "expected --gates like layer1.0:0, with one of the layers"),
        (["--gates", "layer1.0:16"], "a number below its gates, but got layer1.0:16"),
        (["--over-training", "no.pth"], "expected a checkpoint at no.pth"),
    ],
)
def test_wrong_input_is_named(model, tmp_path, arguments, message):
    error = error_of("analyze_gates", *model, "--out-dir", tmp_path / "out", *arguments)
    assert message in error
    assert not (tmp_path / "out").exists()


def test_a_plain_network_is_refused_before_it_runs(model, tmp_path):
    options = ["--cfg-options", "model.backbone.gate=None", "model.gate_losses=None"]
    error = error_of("analyze_gates", *model, "--out-dir", tmp_path / "out", *options)
    assert "expected a model with gates, but got none" in error


def test_one_model_twice_and_a_file_as_folder_are_named(model, tmp_path):
    config, checkpoint = model
    error = error_of("analyze_gates", config, checkpoint, checkpoint, "--out-dir", tmp_path / "out")
    assert "expected models with different names" in error
    error = error_of("analyze_gates", config, checkpoint, "--out-dir", checkpoint)
    assert f"expected a folder as --out-dir, but {checkpoint} is a file" in error


def test_equal_names_are_told_apart_by_the_checkpoints(model, tmp_path):
    config, checkpoint = model
    other = tmp_path / "other.pth"
    write_checkpoint(config, other)
    arguments = [config, checkpoint, other, "--num-images", "4", "--out-dir", tmp_path / "out"]
    call_tool("analyze_gates", *arguments)
    numbers = json.loads((tmp_path / "out" / "gates.json").read_text(encoding="utf-8"))
    names = [entry["name"] for entry in numbers["models"]]
    assert names == [str(checkpoint.with_suffix("")), str(other.with_suffix(""))]


def test_segmentation(tmp_path):
    pytest.importorskip("mmseg")
    write_street_scenes(tmp_path / "data", num_train=1, num_val=6, size=(48, 96))
    config, checkpoint = CONFIGS / "pspnet_r18_bas_street_scenes.py", tmp_path / "untrained.pth"
    loaded = Config.fromfile(config)
    init_default_scope(loaded.default_scope)
    torch.manual_seed(0)
    network = MODELS.build(loaded.model)
    network.init_weights()
    torch.save({"meta": {}, "state_dict": network.state_dict()}, checkpoint)
    arguments = [config, checkpoint, "--out-dir", tmp_path / "out", "--split", "test"]
    options = ["--cfg-options", f"test_dataloader.dataset.data_root={tmp_path / 'data'}"]
    result = json_of(call_tool, "analyze_gates", *arguments, *options, out=tmp_path / "result.json")
    numbers = json.loads((tmp_path / "out" / "gates.json").read_text(encoding="utf-8"))
    (model,) = numbers["models"]
    assert set(result["models"][0]["metrics"]) >= {"mIoU", "aAcc"}
    # The host counts the right pixels of all images; all have the same size and few are ignored.
    accuracy = 100 * sum(model["images"]["correct"]) / 6
    assert accuracy == pytest.approx(result["models"][0]["metrics"]["aAcc"], abs=1)
    road = model["classes"].index("road")
    assert all(road in classes for classes in model["images"]["classes"])
    assert model["images_by_class"][road] == 6
    open_for_road = model["gates"]["layer1.0"]["open_images_by_class"][road]
    rates = model["gates"]["layer1.0"]["open_rate"]
    assert open_for_road == pytest.approx([6 * rate for rate in rates], abs=1e-5)
    assert "difficulty" in numbers["figures"]
