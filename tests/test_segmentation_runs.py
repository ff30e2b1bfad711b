"""Segmentation runs: the smoke config, images of any size, and clear errors for bad input."""

from __future__ import annotations

import json
import math
from typing import ClassVar

import helpers
import numpy as np
import pytest
import torch

pytest.importorskip("mmseg")

import cv2
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS, MODELS, DefaultScope
from mmengine.visualization import Visualizer

from mmbas.datasets import write_street_scenes
from mmbas.losses import batch_shaping_loss

SMOKE = "configs/pspnet_r18_bas_street_scenes.py"
CAMVID = helpers.CONFIGS / "pspnet_r18_bas_camvid.py"
CROP = (64, 96)


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope("mmseg"):
        yield


def small_pspnet(**backbone):
    config = Config.fromfile(CAMVID).model
    config.backbone.update(backbone)
    if config.backbone.gate is None:
        config.gate_losses.bas = None
    return MODELS.build(config)


def loss_of(model, dataset, *, images):
    data = pseudo_collate([dataset[i] for i in range(images)])
    data = model.train().data_preprocessor(data, training=True)
    return model(**data, mode="loss"), data


@pytest.fixture
def mixed_sizes(tmp_path):
    """Loader config of three images of different sizes, in the folders of CamVid."""
    config = Config.fromfile(CAMVID)
    for i, (height, width) in enumerate([(60, 80), (90, 50), (64, 64)]):
        for split in ("train", "test"):
            for kind, ending in (("images", "jpg"), ("annotations", "png")):
                folder = tmp_path / kind / split
                folder.mkdir(parents=True, exist_ok=True)
                shape = (height, width, 3) if kind == "images" else (height, width)
                cv2.imwrite(str(folder / f"{i}.{ending}"), np.full(shape, 7, dtype=np.uint8))
    for loader in (config.train_dataloader, config.test_dataloader):
        loader.dataset.data_root = str(tmp_path)
    for step in config.train_dataloader.dataset.pipeline:
        if step.type == "RandomResize":
            step.scale = (80, 60)
        if step.type == "RandomCrop":
            step.crop_size = CROP
    return config


def test_images_of_different_sizes_train_in_one_batch(mixed_sizes):
    dataset = DATASETS.build(mixed_sizes.train_dataloader.dataset)
    model = small_pspnet()
    for _ in range(3):
        losses, data = loss_of(model, dataset, images=3)
        assert all(torch.isfinite(loss).all() for loss in losses.values())
        height, width = data["inputs"].shape[2:]
        assert (height % 8, width % 8) == (0, 0)
        labels = torch.stack([sample.gt_sem_seg.data for sample in data["data_samples"]])
        assert labels.shape[2:] == (height, width)
        assert set(labels.unique().tolist()) <= {7, 255}


@torch.no_grad()
def test_images_of_different_sizes_are_predicted_one_by_one(mixed_sizes):
    dataset = DATASETS.build(mixed_sizes.test_dataloader.dataset)
    model = small_pspnet().eval()

    shapes = [
        tuple(model.test_step(pseudo_collate([dataset[i]]))[0].pred_sem_seg.shape) for i in range(3)
    ]

    assert mixed_sizes.test_dataloader.batch_size == 1
    assert shapes == [(60, 80), (90, 50), (64, 64)]
    with pytest.raises(AssertionError, match="image size in a batch should be the same"):
        model.test_step(pseudo_collate([dataset[0], dataset[1]]))


def test_a_batch_of_one_image_is_refused_in_training(mixed_sizes):
    dataset = DATASETS.build(mixed_sizes.train_dataloader.dataset)

    with pytest.raises(ValueError, match="at least 2 images per batch in training"):
        loss_of(small_pspnet(), dataset, images=1)
    # The plain network fails in the 1x1 pooling of PSPNet, with torch's own words.
    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
        loss_of(small_pspnet(gate=None), dataset, images=1)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "scenes"
    write_street_scenes(root, num_train=4, num_val=2, size=(64, 128))
    return root


def smoke_options(root, *more):
    loaders = ("train_dataloader", "val_dataloader", "test_dataloader")
    return [
        "--cfg-options",
        *(f"{loader}.dataset.data_root={root}" for loader in loaders),
        "model.decode_head.channels=16",
        "visualizer.vis_backends=[]",
        *more,
    ]


def test_the_smoke_config_trains_and_tests(scenes, tmp_path):
    iterations = ("train_cfg.max_iters=3", "train_cfg.val_interval=3", "param_scheduler.end=3")
    more = (*iterations, "default_hooks.checkpoint.interval=3", "default_hooks.logger.interval=1")
    options = smoke_options(scenes, "custom_hooks.0.interval=1", *more)
    log = helpers.run_tool("train", SMOKE, "--work-dir", tmp_path, *options)
    lines = (log.stdout + log.stderr).splitlines()
    (trained,) = [line for line in lines if "Iter(train) [3/3]" in line]
    (validated,) = [line for line in lines if "Iter(val) [2/2]" in line and "mIoU" in line]
    for key in ("loss_bas", "decode.loss_ce", "gates/bas_factor", "gates/open_fraction"):
        assert f" {key}: " in trained
    for key in ("mIoU", "aAcc", "macs/average", "macs/fraction", "gates/conditional"):
        assert f" {key}: " in validated

    folder = tmp_path / "test"
    helpers.call_tool("test", SMOKE, tmp_path / "iter_3.pth", "--work-dir", folder, *options)
    (path,) = folder.glob("*/*.json")
    result = json.loads(path.read_text(encoding="utf-8"))

    assert 0 < result["mIoU"] <= result["aAcc"] <= 100
    assert 0 < result["macs/fraction"] < 1
    assert result["macs/average"] == pytest.approx(result["macs/fraction"] * result["macs/dense"])


@HOOKS.register_module()
class WatchPrecision(Hook):
    """Keeps what each iteration has in mixed precision; the last one that trained is ``last``."""

    last: ClassVar[WatchPrecision]

    def before_train(self, runner):
        WatchPrecision.last = self
        self.gate_losses, self.losses, self.conv_dtypes = [], [], set()
        runner.model.gate_losses["bas"].register_forward_hook(self.watch)
        runner.model.backbone.layer4[0].conv1.register_forward_hook(self.watch_conv)

    def watch_conv(self, conv, inputs, output):
        if conv.training:  # validation is in float32
            self.conv_dtypes.add(output.dtype)

    def watch(self, loss, inputs, value):
        logits = torch.cat([output.logits.detach() for output in inputs[0]], dim=1)
        exact = batch_shaping_loss(logits.double(), loss.prior).sum() * loss.loss_weight
        self.gate_losses.append((value.item(), exact.item(), value.dtype, logits.dtype))

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses.append({key: value.item() for key, value in outputs.items()})


def train_mixed(scenes, folder, dtype):
    """50 iterations; the gates' loss agrees with its exact value in each."""
    options = smoke_options(
        scenes,
        *("train_cfg.max_iters=50", "train_cfg.val_interval=60", "param_scheduler.end=50"),
        # Ranked among itself, so that the exact value follows from the batch alone.
        *("model.gate_losses.bas.queue_size=0", "train_dataloader.batch_size=2"),
        "default_hooks.watch.type=WatchPrecision",
    )
    helpers.call_tool("train", SMOKE, "--amp", "--work-dir", folder, *options)
    seen = WatchPrecision.last

    assert seen.conv_dtypes == {dtype}
    assert len(seen.gate_losses) == len(seen.losses) == 50
    for value, exact, *dtypes in seen.gate_losses:
        assert value == pytest.approx(exact, rel=1e-3)
        assert dtypes == [torch.float32, torch.float32]
    assert all(math.isfinite(loss) for losses in seen.losses for loss in losses.values())
    assert {"loss", "loss_bas", "decode.loss_ce", "aux.loss_ce"} <= set(seen.losses[0])
    assert seen.losses[-1]["decode.loss_ce"] < seen.losses[0]["decode.loss_ce"]


@pytest.fixture
def _fresh_visualizer():
    yield
    Visualizer._instance_dict.clear()


@pytest.mark.usefixtures("_fresh_visualizer")
@pytest.mark.skipif(torch.cuda.is_available(), reason="--amp is float16 where there is a GPU")
def test_bfloat16_trains_and_the_loss_of_the_gates_does_not_drift(scenes, tmp_path):
    train_mixed(scenes, tmp_path, torch.bfloat16)


@pytest.mark.gpu
@pytest.mark.usefixtures("_fresh_visualizer")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="float16 needs a CUDA device")
def test_float16_trains_and_the_loss_of_the_gates_does_not_drift(scenes, tmp_path):
    train_mixed(scenes, tmp_path, torch.float16)


@pytest.mark.usefixtures("_fresh_visualizer")
def test_multi_scale_and_flip_test_runs_from_the_config(scenes, tmp_path):
    config = Config.fromfile(SMOKE).model
    config.decode_head.channels = 16
    torch.manual_seed(0)
    checkpoint = tmp_path / "model.pth"
    torch.save(dict(state_dict=MODELS.build(config).state_dict()), checkpoint)

    def metrics(name, *flags):
        arguments = (checkpoint, "--work-dir", tmp_path / name, *flags)
        options = smoke_options(scenes, f"experiment_name={tmp_path.name}-{name}")
        out = tmp_path / f"{name}.json"
        result = helpers.json_of(helpers.call_tool, "test", SMOKE, *arguments, *options, out=out)
        assert " --tta " in result.pop("command") or not flags
        return result

    single, several = metrics("single"), metrics("several", "--tta")
    # --save-macs writes the table of the same sums.
    table, picture = tmp_path / "macs.json", tmp_path / "macs.png"
    flags = ("--tta", "--save-macs", table, "--show-macs", picture)
    assert metrics("table", *flags)["macs/average"] == pytest.approx(
        np.mean([row["macs"] for row in json.loads(table.read_text())]), rel=1e-12
    )

    assert picture.read_bytes().startswith(b"\x89PNG")

    # Twice 0.5^2 + 0.75^2 + ... + 1.75^2 images of the original size, up to rounded sizes.
    assert several["macs/dense"] / single["macs/dense"] == pytest.approx(17.375, rel=0.02)
    assert 0 < several["macs/fraction"] < 1
    assert set(several) == set(single) > {"mIoU", "aAcc"}


def test_train_refuses_batches_of_one_image_before_it_starts(scenes, tmp_path):
    options = smoke_options(scenes, "train_dataloader.batch_size=1")

    message = helpers.error_of("train", SMOKE, "--work-dir", tmp_path, *options)

    assert "expected at least 2 images in every training batch" in message
    assert "but got 1 in each; raise train_dataloader.batch_size" in message


def test_train_names_a_label_outside_the_classes(tmp_path):
    root = tmp_path / "scenes"
    write_street_scenes(root, num_train=2, num_val=1, size=(32, 64))
    for path in root.glob("gtFine/train/*/*.png"):
        cv2.imwrite(str(path), np.full((32, 64), 26, dtype=np.uint8))  # a label id: car

    message = helpers.error_of("train", SMOKE, "--work-dir", tmp_path, *smoke_options(root))

    assert "but got [26]; training needs the 19 train ids" in message


def test_train_names_a_missing_annotation(tmp_path):
    root = tmp_path / "scenes"
    write_street_scenes(root, num_train=2, num_val=1, size=(32, 64))
    next(root.glob("gtFine/train/*/*.png")).unlink()

    message = helpers.error_of("train", SMOKE, "--work-dir", tmp_path, *smoke_options(root))

    assert "expected an annotation for each of 2 entries, but 1 is missing" in message


def test_train_names_an_empty_folder(tmp_path):
    (tmp_path / "leftImg8bit/train").mkdir(parents=True)

    message = helpers.error_of("train", SMOKE, "--work-dir", tmp_path, *smoke_options(tmp_path))

    assert "leftImg8bit/train, but found no files; set the folder" in message
