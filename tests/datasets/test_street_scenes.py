"""Street scenes: the same arguments give the same pixels, and the host reads them as Cityscapes."""

from types import SimpleNamespace

import helpers
import numpy as np
import pytest

pytest.importorskip("mmseg")

import cv2
from mmengine.registry import DefaultScope
from mmseg.datasets import CityscapesDataset

from mmbas.datasets.checked_segmentation import Cityscapes
from mmbas.datasets.street_painter import CAR, IGNORED, PERSON, Camera
from mmbas.datasets.street_scenes import CLUTTER_LEVELS, draw_scene, write_street_scenes

SIZE = (64, 128)
DRAWN = {
    "road",
    "sidewalk",
    "building",
    "pole",
    "traffic light",
    "traffic sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "car",
}


def scenes(clutter, count=12, size=SIZE):
    return [
        draw_scene(np.random.RandomState([7, i]), size=size, clutter=clutter) for i in range(count)
    ]


def read(dataset_class, root, split):
    pipeline = [
        dict(type="LoadImageFromFile"),
        dict(type="LoadAnnotations"),
        dict(type="PackSegInputs"),
    ]
    prefix = dict(img_path=f"leftImg8bit/{split}", seg_map_path=f"gtFine/{split}")
    with DefaultScope.overwrite_default_scope("mmseg"):
        dataset = dataset_class(data_root=str(root), data_prefix=prefix, pipeline=pipeline)
        return SimpleNamespace(dataset=dataset, samples=[dataset[i] for i in range(len(dataset))])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    write_street_scenes(folder, num_train=12, num_val=4, size=SIZE)
    return folder


def test_a_point_on_the_ground_is_where_the_pinhole_puts_it():
    camera = Camera(horizon=100, center=200, focal=160)
    # At 10 m ahead and 5 m to the right, 1.6 m below the camera: 160 * 5 / 10 and 160 * 1.6 / 10.
    np.testing.assert_allclose(camera.project([(5, 0, 10)]), [[280, 125.6]])
    # What is as high as the camera lies on the horizon, however far.
    np.testing.assert_allclose(camera.project([(0, 1.6, 3), (0, 1.6, 99)])[:, 1], 100)


def test_the_same_arguments_give_the_same_pixels(root, tmp_path):
    paths = write_street_scenes(tmp_path, num_train=12, num_val=4, size=SIZE)
    for path in paths:
        other = root / path.relative_to(tmp_path)
        np.testing.assert_array_equal(cv2.imread(str(path)), cv2.imread(str(other)))


def test_another_seed_and_every_image_are_other_streets(root, tmp_path):
    paths = write_street_scenes(tmp_path, num_train=4, num_val=4, size=SIZE, seed=1)
    images = [
        cv2.imread(str(p)) for p in [*paths, *(root / q.relative_to(tmp_path) for q in paths)]
    ]
    for i, image in enumerate(images):
        for other in images[:i]:
            assert not np.array_equal(image, other)


def test_the_host_reads_them_as_cityscapes(root):
    train, val = read(CityscapesDataset, root, "train"), read(CityscapesDataset, root, "val")

    assert (len(train.samples), len(val.samples)) == (12, 4)
    for sample in train.samples + val.samples:
        assert tuple(sample["inputs"].shape) == (3, *SIZE)
        assert tuple(sample["data_samples"].gt_sem_seg.shape) == SIZE
    checked = read(Cityscapes, root, "val")
    assert checked.dataset.metainfo == val.dataset.metainfo


def test_every_image_shows_a_street_and_all_together_every_class(root):
    names = CityscapesDataset.METAINFO["classes"]
    seen = set()
    for sample in read(CityscapesDataset, root, "train").samples:
        labels = set(sample["data_samples"].gt_sem_seg.data.unique().tolist())
        shown = {names[label] for label in labels - {IGNORED}}
        assert {"road", "sidewalk", "sky"} <= shown <= DRAWN
        seen |= shown
    assert seen == DRAWN


def test_clutter_fills_the_street():
    shares = [
        np.mean([np.isin(labels, (CAR, PERSON)).mean() for _, labels in scenes(clutter)])
        for clutter in range(len(CLUTTER_LEVELS))
    ]
    assert shares == sorted(shares)
    assert shares[-1] > 4 * shares[0]


def test_cars_come_in_several_sizes():
    areas = []
    for _, labels in scenes(2):
        _, _, stats, _ = cv2.connectedComponentsWithStats((labels == CAR).astype(np.uint8))
        areas += stats[1:, cv2.CC_STAT_AREA].tolist()
    assert max(areas) > 30 * min(areas)


def test_image_and_labels_agree_on_the_edge_of_the_sky():
    # Above the horizon, what is no sky is darker or of another hue: edges of both coincide.
    image, labels = scenes(0, count=1, size=(128, 256))[0]
    edges = np.abs(np.diff(labels.astype(int), axis=0))[:60] > 0
    contrast = np.abs(np.diff(image.astype(float).sum(axis=2), axis=0))[:60]
    assert contrast[edges].mean() > 2 * contrast[~edges].mean()


@pytest.mark.parametrize("size", [(32, 32), (45, 77), (100, 60)])
def test_any_size_is_drawn(size):
    image, labels = draw_scene(np.random.RandomState(0), size=size, clutter=3)
    assert (image.shape, labels.shape) == ((*size, 3), size)
    assert image.dtype == labels.dtype == np.uint8


def test_bad_arguments_are_refused(tmp_path, root):
    with pytest.raises(ValueError, match="at least 32, but got"):
        draw_scene(np.random.RandomState(0), size=(16, 64))
    with pytest.raises(ValueError, match="clutter from 0 to 3, but got 4"):
        draw_scene(np.random.RandomState(0), clutter=4)
    with pytest.raises(ValueError, match="at least 1 image to val, but got 0"):
        write_street_scenes(tmp_path, num_val=0)
    with pytest.raises(ValueError, match="expected a folder without images, but .* exists"):
        write_street_scenes(root)


def test_the_command_line_draws_them_and_says_what_it_did(tmp_path):
    folder = tmp_path / "scenes"
    arguments = [folder, "--num-train", "2", "--num-val", "1", "--size", "32", "64"]
    result = helpers.json_of(
        helpers.call_tool, "make_street_scenes", *arguments, out=tmp_path / "out.json"
    )

    assert result["num_images"] == len(list(folder.glob("leftImg8bit/*/*/*.png"))) == 3
    assert len(list(folder.glob("gtFine/*/*/*_gtFine_labelTrainIds.png"))) == 3
    assert "expected a folder without images" in helpers.error_of("make_street_scenes", *arguments)


def test_missing_train_ids_name_the_converter(tmp_path):
    write_street_scenes(tmp_path, num_train=4, num_val=1, size=SIZE)
    next(tmp_path.glob("gtFine/train/*/*_labelTrainIds.png")).unlink()
    with pytest.raises(ValueError, match=r"but 1 is missing.*dataset_converters/cityscapes\.py"):
        read(Cityscapes, tmp_path, "train")
