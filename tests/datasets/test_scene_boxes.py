"""Boxes of things in drawn streets: by hand, in the file, and against the pixels."""

import numpy as np
import pytest

pytest.importorskip("cv2")

from mmbas.datasets.scene_boxes import MIN_PIXELS, MIN_SIDE, Box, boxes_of
from mmbas.datasets.street_painter import CAR, PERSON
from mmbas.datasets.street_scenes import draw_scene, paint_scene, write_street_scenes

SIZE = (64, 128)


def test_what_is_hidden_or_too_small_has_no_part_in_a_box():
    things = np.zeros((10, 20), dtype=np.uint8)
    things[1:5, 2:8] = 1
    things[1:5, 5:8] = 2  # in front of the right half of the first
    things[9, :] = 3  # too low
    things[6:8, 0:4] = 4  # too few pixels
    things[6:9, 10:20] = 5  # of no category
    categories = {1: "car", 2: "person", 3: "pole", 4: "pole"}
    assert boxes_of(things, categories) == [
        Box("car", 2, 1, 3, 4, 12),
        Box("person", 5, 1, 3, 4, 12),
    ]


@pytest.mark.parametrize("clutter", [0, 3])
def test_boxes_hold_the_cars_and_persons_of_the_label_map(clutter):
    for seed in range(4):
        scene = paint_scene(np.random.RandomState([seed, 5]), size=SIZE, clutter=clutter)
        image, labels = draw_scene(np.random.RandomState([seed, 5]), size=SIZE, clutter=clutter)
        assert np.array_equal(scene.image, image)
        assert np.array_equal(scene.labels, labels)
        for category, label in (("car", CAR), ("person", PERSON)):
            covered = np.zeros(SIZE, dtype=bool)
            for box in (box for box in scene.boxes if box.category == category):
                part = np.s_[box.top : box.top + box.height, box.left : box.left + box.width]
                covered[part] = True
                assert (labels[part] == label).sum() >= box.area >= MIN_PIXELS
                assert min(box.width, box.height) >= MIN_SIDE
            # All but what is too small to have a box.
            assert ((labels == label) & ~covered).sum() < MIN_PIXELS * 12


def test_the_file_is_read_by_cocos_own_reader(tmp_path):
    coco = pytest.importorskip("pycocotools.coco")
    write_street_scenes(tmp_path, num_train=4, num_val=1, size=SIZE, coco=True)
    read = coco.COCO(str(tmp_path / "annotations" / "instances_train.json"))
    assert [category["name"] for category in read.loadCats(read.getCatIds())] == [
        *("car", "person", "pole")
    ]
    images = read.loadImgs(read.getImgIds())
    assert all((tmp_path / image["file_name"]).is_file() for image in images)
    assert {(image["height"], image["width"]) for image in images} == {SIZE}
    numbers = [annotation["id"] for annotation in read.dataset["annotations"]]
    assert numbers == list(range(1, len(numbers) + 1))
    crowded = next(image["id"] for image in images if "crowded" in image["file_name"])
    assert len(read.getAnnIds(crowded)) > 3


def test_without_boxes_there_is_no_file(tmp_path):
    write_street_scenes(tmp_path, num_train=1, num_val=1, size=SIZE)
    assert not (tmp_path / "annotations").exists()
