"""Segmentation runs: the smoke config, images of any size, and clear errors for bad input."""

import json

import helpers
import numpy as np
import pytest
import torch

pytest.importorskip("mmseg")

import cv2
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, DefaultScope

from mmbas.datasets import write_street_scenes

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
    options = smoke_options(scenes, *more)
    log = helpers.run_tool("train", SMOKE, "--work-dir", tmp_path, *options)
    assert "loss_bas" in log.stdout + log.stderr

    folder = tmp_path / "test"
    helpers.call_tool("test", SMOKE, tmp_path / "iter_3.pth", "--work-dir", folder, *options)
    (path,) = folder.glob("*/*.json")
    result = json.loads(path.read_text(encoding="utf-8"))

    assert 0 < result["mIoU"] <= result["aAcc"] <= 100
    assert 0 < result["macs/fraction"] < 1
    assert result["macs/average"] == pytest.approx(result["macs/fraction"] * result["macs/dense"])


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
