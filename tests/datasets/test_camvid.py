"""mmbas.CamVid: labels, void, and clear errors for files that do not fit."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("mmseg")

import cv2
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS as ROOT_DATASETS
from mmengine.registry import METRICS, DefaultScope

from mmbas.datasets.camvid import CamVid

PIPELINE = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
PREFIX = dict(img_path="images/train", seg_map_path="annotations/train")


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope("mmseg"):
        yield


def write_sample(root, name="a", *, labels=None, suffix=".jpg"):
    """An image of 12x16 pixels; by default its twelve rows have the labels 0 to 11."""
    labels = np.repeat(np.arange(12)[:, None], 16, axis=1) if labels is None else labels
    for kind in ("images", "annotations"):
        (root / kind / "train").mkdir(parents=True, exist_ok=True)
    image = np.full((*labels.shape, 3), 120, dtype=np.uint8)
    cv2.imwrite(str(root / "images/train" / f"{name}{suffix}"), image)
    cv2.imwrite(str(root / "annotations/train" / f"{name}.png"), labels.astype(np.uint8))


def camvid(root, **arguments):
    return CamVid(data_root=str(root), data_prefix=PREFIX, pipeline=PIPELINE, **arguments)


def test_classes_keep_their_labels_and_void_is_ignored(tmp_path):
    write_sample(tmp_path)

    rows = camvid(tmp_path)[0]["data_samples"].gt_sem_seg.data[0, :, 0]

    assert rows.tolist() == [*range(11), 255]


def test_void_counts_in_no_metric(tmp_path):
    write_sample(tmp_path)
    dataset = camvid(tmp_path, test_mode=True)
    sample = dataset[0]["data_samples"]
    label = sample.gt_sem_seg.data
    prediction = label.clone()
    prediction[prediction == 255] = 3  # whatever the network says there
    metric = METRICS.build(dict(type="IoUMetric", iou_metrics=["mIoU"]))
    metric.dataset_meta = dataset.metainfo

    metric.process({}, [dict(pred_sem_seg=dict(data=prediction), gt_sem_seg=dict(data=label))])
    result = metric.evaluate(1)

    assert (result["aAcc"], result["mIoU"]) == (100.0, 100.0)


def test_some_of_the_classes_may_be_chosen(tmp_path):
    write_sample(tmp_path)
    dataset = camvid(tmp_path, metainfo=dict(classes=("Road", "Car")))

    rows = dataset[0]["data_samples"].gt_sem_seg.data[0, :, 0].tolist()

    assert rows == [0 if i == 3 else 1 if i == 8 else 255 for i in range(12)]
    assert dataset.metainfo["palette"] == [[128, 64, 128], [64, 0, 128]]


def test_the_registry_builds_it_by_name_and_batches_collate(tmp_path):
    write_sample(tmp_path, "b")
    write_sample(tmp_path, "a")
    config = dict(data_root=str(tmp_path), data_prefix=PREFIX, pipeline=PIPELINE)
    dataset = ROOT_DATASETS.build(dict(type="mmbas.CamVid", **config))
    batch = pseudo_collate([dataset[0], dataset[1]])

    assert [sample.img_path[-5:] for sample in batch["data_samples"]] == ["a.jpg", "b.jpg"]
    assert tuple(batch["inputs"][0].shape) == (3, 12, 16)
    assert len(dataset.metainfo["classes"]) == len(dataset.metainfo["palette"]) == 11


def test_png_images_are_read_as_well(tmp_path):
    write_sample(tmp_path, suffix=".png")

    assert len(camvid(tmp_path, img_suffix=".png")) == 1
    with pytest.raises(ValueError, match=r"ending in \.jpg .* found only files ending in \.png"):
        camvid(tmp_path)


def test_an_empty_folder_is_named(tmp_path):
    for kind in ("images", "annotations"):
        (tmp_path / kind / "train").mkdir(parents=True)

    with pytest.raises(ValueError, match=r"images/train, but found no files; set the folder"):
        camvid(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"images/train, but it does not exist; set the folder"):
        camvid(tmp_path)


def test_a_missing_annotation_is_named_before_training(tmp_path):
    for name in "abc":
        write_sample(tmp_path, name)
    (tmp_path / "annotations/train/b.png").unlink()

    with pytest.raises(
        ValueError, match=r"each of 3 entries, but 1 is missing, e.g. .*b\.png; add"
    ):
        camvid(tmp_path)


def test_images_without_annotations_may_be_predicted(tmp_path):
    write_sample(tmp_path)
    dataset = CamVid(
        data_root=str(tmp_path),
        data_prefix=dict(img_path="images/train"),
        pipeline=[PIPELINE[0], PIPELINE[2]],
        test_mode=True,
    )
    assert "gt_sem_seg" not in dataset[0]["data_samples"]


def test_a_label_outside_the_classes_is_named_with_its_file(tmp_path):
    labels = np.zeros((12, 16))
    labels[0, 0], labels[1, 1] = 12, 200
    write_sample(tmp_path, "odd", labels=labels)

    with pytest.raises(ValueError, match=r"0 to 10, or 255 .*odd\.png, but got \[12, 200\]"):
        camvid(tmp_path)[0]


@pytest.mark.parametrize("name", ["images/train/a.jpg", "annotations/train/a.png"])
@pytest.mark.parametrize(("kept", "fault"), [(0, "is empty"), (20, "ends within it")])
def test_a_file_that_was_cut_off_is_named(tmp_path, name, kept, fault):
    write_sample(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(
        ValueError, match=f"expected a whole image in .*{path.name}, but .* {fault}"
    ):
        camvid(tmp_path)[0]


def test_the_package_imports_where_mmseg_is_missing():
    code = (
        "import importlib.util as u; find = u.find_spec;"
        "u.find_spec = lambda name, *a: None if name == 'mmseg' else find(name, *a);"
        "import sys, mmbas.datasets as d;"
        "assert 'CamVid' not in d.__all__ and 'mmseg' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
