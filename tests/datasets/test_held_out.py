"""Training images kept aside: the parts are disjoint, whole and the same each time."""

import pytest

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")

import torch
from mmengine.registry import DATASETS, init_default_scope

from mmbas.datasets import HeldOut

DIGITS = dict(type="mmbas.Digits", split="train", indices=50)


def images_of(part, **options):
    dataset = HeldOut(DIGITS, num_held_out=20, part=part, **options)
    return [dataset.get_data_info(i)["img"].tobytes() for i in range(len(dataset))]


def test_parts_are_disjoint_and_complete():
    rest, held_out = images_of("rest"), images_of("held_out")
    assert (len(rest), len(held_out)) == (30, 20)
    whole = HeldOut(DIGITS, num_held_out=20, part="rest").dataset
    every = sorted(whole.get_data_info(i)["img"].tobytes() for i in range(50))
    assert sorted(rest + held_out) == every


def test_the_seed_decides_and_a_part_can_be_cut():
    assert images_of("held_out") == images_of("held_out")
    assert images_of("held_out", seed=1) != images_of("held_out")
    assert images_of("rest", max_images=7) == images_of("rest")[:7]


def test_items_go_through_the_pipeline():
    init_default_scope("mmpretrain")  # where PackInputs is registered
    dataset = HeldOut(
        {**DIGITS, "pipeline": [dict(type="PackInputs")]}, num_held_out=20, part="rest"
    )
    assert dataset[0]["inputs"].shape[0] == 3
    assert len(dataset.metainfo["classes"]) == 10


@pytest.mark.parametrize("number", [0, 50, 60])
def test_too_few_images(number):
    with pytest.raises(ValueError, match=f"between 1 and 49 of 50 images, but got {number}"):
        HeldOut(DIGITS, num_held_out=number, part="rest")


def test_unknown_part():
    with pytest.raises(ValueError, match="'held_out' or 'rest', but got 'test'"):
        HeldOut(DIGITS, num_held_out=10, part="test")


def test_classes_of_an_image_are_those_of_the_data_set():
    dataset = HeldOut(DIGITS, num_held_out=20, part="rest")
    for i in range(3):
        assert dataset.get_cat_ids(i) == [dataset.get_data_info(i)["gt_label"]]


@DATASETS.register_module()
class PlainNumbers(torch.utils.data.Dataset):
    """A data set of plain torch: no ``full_init``, nothing said of itself."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return index


def test_a_data_set_of_plain_torch_has_two_parts_too():
    parts = [
        HeldOut(dict(type="PlainNumbers"), num_held_out=2, part=part)
        for part in ("held_out", "rest")
    ]
    assert sorted(part[i] for part in parts for i in range(len(part))) == list(range(5))
    assert parts[0].metainfo == {}
