"""Tools on data sets inside wrappers, and on those that name no classes."""

import pytest

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")

import torch
from helpers import CONFIGS, call_tool, error_of, json_of, write_checkpoint
from mmengine.config import Config
from mmengine.registry import DATASETS, MODELS, DefaultScope

from mmbas.cli.data_sets import data_loader, innermost
from mmbas.datasets import Digits
from mmbas.datasets.street_scenes import write_street_scenes
from mmbas.registry import type_name


@DATASETS.register_module()
class NamelessDigits(Digits):
    """Digits that have labels, but no names."""

    METAINFO = {}  # noqa: RUF012


PIPELINE = '[dict(type="RandomCrop", crop_size=32, padding=4), dict(type="PackInputs")]'
TRAIN = f'dict(type="mmbas.Digits", split="train", indices=20, pipeline={PIPELINE})'
TEST = (
    'dict(type="NamelessDigits", split="test", test_mode=True, pipeline=[dict(type="PackInputs")])'
)
TEXT = f"""
_base_ = "{CONFIGS}/resnet20_bas_digits.py"
model = dict(backbone=dict(depth=8))
visualizer = dict(vis_backends=[dict(type="LocalVisBackend")])
train_dataloader = dict(dataset=dict(_delete_=True, **WRAPPED))
test_dataloader = dict(batch_size=16, dataset=dict(
    _delete_=True, type="ConcatDataset", datasets=[
        dict(type="mmbas.HeldOut", num_held_out=15, part="held_out", dataset={TEST}),
        dict(type="mmbas.HeldOut", num_held_out=10, part="held_out", seed=1, dataset={TEST})]))
"""
HELD_OUT = f'dict(type="mmbas.HeldOut", num_held_out=8, part="held_out", dataset={TRAIN})'
WRAPPERS = {
    "repeated": f'dict(type="RepeatDataset", times=3, dataset={HELD_OUT})',
    "balanced": f'dict(type="ClassBalancedDataset", oversample_thr=0.5, dataset={HELD_OUT})',
    "joined": f'dict(type="ConcatDataset", datasets=[{HELD_OUT}])',
    "batched": f'dict(type="mmbas.BatchedCrops", padding=4, dataset={HELD_OUT})',
}


def write(folder, wrapper):
    path = folder / f"{wrapper}.py"
    path.write_text(TEXT.replace("WRAPPED", WRAPPERS[wrapper]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return write(tmp_path_factory.mktemp("wrapped"), "balanced")


@pytest.fixture(scope="module")
def checkpoint(config):
    path = config.with_name("gated.pth")
    write_checkpoint(config, path)
    return path


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_images_are_read_once_in_order_and_as_they_are(tmp_path, wrapper):
    config = Config.fromfile(write(tmp_path, wrapper))
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        loader = data_loader(config, "train")
        first = list(loader)
        again = list(loader)
    assert sum(len(batch["inputs"]) for batch in first) == 8
    for batch, same in zip(first, again, strict=True):
        for image, other in zip(batch["inputs"], same["inputs"], strict=True):
            assert torch.equal(image, other)
    # The config of the training is as it was.
    assert len(innermost(config.train_dataloader.dataset)[0].pipeline) == 2


def images_of(loader):
    """All images of a loader, shape (N, values)."""
    return torch.cat([torch.stack(batch["inputs"]).flatten(1) for batch in loader])


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_few_mixed_images_stand_for_all(tmp_path, wrapper):
    """Folders of classes come class by class: the first images would all be of one class."""
    config = Config.fromfile(write(tmp_path, wrapper))
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        ordered = images_of(data_loader(config, "train"))
        mixed, again = (images_of(data_loader(config, "train", mixed=True)) for _ in range(2))
    positions = [int((ordered == image).all(dim=1).nonzero()[0]) for image in mixed]
    assert sorted(positions) == list(range(len(ordered))) != positions
    assert torch.equal(mixed, again)


def test_every_data_set_that_is_joined_gets_the_pipeline(tmp_path):
    config = Config.fromfile(write(tmp_path, "joined"))
    inner = config.train_dataloader.dataset.datasets[0]
    config.train_dataloader.dataset.datasets = [inner, Config(inner.to_dict())._cfg_dict]
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        joined = data_loader(config, "train").dataset
    pipelines = [part.dataset.pipeline.transforms for part in joined.datasets]
    assert [list(map(type_name, transforms)) for transforms in pipelines] == [["PackInputs"]] * 2


def test_reducing_and_testing(config, checkpoint, tmp_path):
    out = tmp_path / "reduced.pth"
    arguments = ("reduce", config, checkpoint, "--out", out)
    result = json_of(call_tool, *arguments, out=tmp_path / "reduce.json")
    assert result["before"]["num_images"] == 25
    assert result["num_calibration_images"] == 8
    message = error_of(*arguments, "--classes", "eleven", "--data", "test")
    assert "expected a class in numbers from 0, since the data set names none" in message
    few = json_of(
        *(call_tool, *arguments, "--classes", "3", "--data", "test"), out=tmp_path / "few.json"
    )
    assert 0 < few["before"]["num_images"] < 25


def test_matching_macs(config, checkpoint, tmp_path):
    arguments = ("match_macs", config, checkpoint, "--out", tmp_path / "matched.pth")
    result = json_of(call_tool, *arguments, "--target", "0.6", out=tmp_path / "match.json")
    assert result["num_images"] == 8


def test_testing_and_the_report(config, checkpoint, tmp_path):
    arguments = ("test", config, checkpoint, "--work-dir", tmp_path / "run")
    pictures = ("--save-macs", tmp_path / "macs.json", "--show-macs", tmp_path / "macs.png")
    call_tool(*arguments, *pictures)
    assert (tmp_path / "macs.png").is_file()
    report = ("analyze_gates", config, checkpoint, "--split", "test", "--out-dir", tmp_path / "a")
    call_tool(*report)
    call_tool(*report, "--num-images", "9")
    assert (tmp_path / "a" / "report.html").is_file()


def test_the_export(config, checkpoint, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    call_tool("export_onnx", config, checkpoint, tmp_path / "gated.onnx", "--repeats", "1")


@pytest.fixture(scope="module")
def segmentor(tmp_path_factory):
    """Config with joined test sets and checkpoint of a gated PSPNet."""
    pytest.importorskip("mmseg")
    folder = tmp_path_factory.mktemp("scenes")
    write_street_scenes(folder / "data", num_train=1, num_val=2, size=(48, 96))
    config = Config.fromfile(CONFIGS / "pspnet_r18_bas_street_scenes.py")
    dataset = config.test_dataloader.dataset
    dataset.data_root = str(folder / "data")
    config.test_dataloader.dataset = dict(type="ConcatDataset", datasets=[dataset, dataset])
    config.model.decode_head.channels = 16
    config.tta_pipeline[1].transforms[0] = [dict(type="Resize", scale_factor=1.0, keep_ratio=True)]
    config.dump(folder / "joined.py")
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build(config.model).eval()
    torch.save({"state_dict": model.state_dict()}, folder / "gated.pth")
    return folder / "joined.py", folder / "gated.pth"


def test_augmentation_reaches_every_data_set_that_is_joined(segmentor, tmp_path):
    config, checkpoint = segmentor
    arguments = ("test", config, checkpoint, "--work-dir", tmp_path / "run")
    plain = json_of(call_tool, *arguments, out=tmp_path / "plain.json")
    augmented = json_of(call_tool, *arguments, "--tta", out=tmp_path / "tta.json")
    assert augmented["macs/dense"] == pytest.approx(2 * plain["macs/dense"])


@pytest.mark.parametrize(
    ("tool", "test_mode", "message"),
    [
        ("test", False, "expected the names of the classes for IoUMetric, but the data set Base"),
        ("test", True, "expected class names for a test, but a data set has none"),
        ("analyze_gates", True, "expected class names for a test, but a data set has none"),
    ],
)
def test_a_test_that_needs_class_names_says_so(segmentor, tmp_path, tool, test_mode, message):
    config, checkpoint = segmentor
    nameless = Config.fromfile(config)
    nameless.test_dataloader.dataset = dict(
        nameless.test_dataloader.dataset.datasets[0],
        type="BaseSegDataset",
        img_suffix="_leftImg8bit.png",
        seg_map_suffix="_gtFine_labelTrainIds.png",
        test_mode=test_mode,
    )
    nameless.dump(tmp_path / "nameless.py")
    more = {"test": ["--work-dir", tmp_path / "a"], "analyze_gates": ["--out-dir", tmp_path / "a"]}
    split = ["--split", "test"] if tool == "analyze_gates" else []
    assert message in error_of(tool, tmp_path / "nameless.py", checkpoint, *more[tool], *split)


def test_a_config_without_a_part_is_told_of(config, checkpoint, tmp_path):
    lacking = Config.fromfile(config)
    lacking.val_dataloader = None
    lacking.dump(tmp_path / "lacking.py")
    arguments = ("reduce", tmp_path / "lacking.py", checkpoint, "--out", tmp_path / "r.pth")
    assert "expected val_dataloader in the config" in error_of(*arguments, "--data", "val")
