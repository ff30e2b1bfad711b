"""Matching a budget: batches come and go, and what could not be repeated is refused."""

import weakref

import pytest
import torch

pytest.importorskip("mmpretrain")

from mmengine.registry import MODELS, DefaultScope
from mmpretrain.structures import DataSample

from mmbas.compress.chosen_images import ChosenImages
from mmbas.compress.match_macs import match_macs


class Batches:
    """Six batches of two images, made anew for each pass; counts how many live at once."""

    def __init__(self):
        self.alive, self.most_alive, self.num_passes = 0, 0, 0

    def __iter__(self):
        self.num_passes += 1
        for seed in range(6):
            images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
            self.alive += 1
            self.most_alive = max(self.alive, self.most_alive)
            weakref.finalize(images, self.forget)
            yield {"inputs": images, "data_samples": [DataSample() for _ in range(2)]}
            del images

    def forget(self):
        self.alive -= 1


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    head = dict(type="LinearClsHead", num_classes=3, in_channels=64)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        return MODELS.build(
            dict(
                type="mmbas.GatedImageClassifier",
                backbone=dict(type="mmbas.GatedResNetCifar", depth=8),
                neck=dict(type="GlobalAveragePooling"),
                head=head,
            )
        ).eval()


def test_one_batch_is_held_at_a_time(model):
    batches = Batches()
    _, reached = match_macs(model, ChosenImages(batches, num_images=9), 0.6)
    assert reached == pytest.approx(0.6, abs=0.02)
    assert batches.num_passes >= 3
    assert batches.most_alive <= 2  # the one before goes when the next is there


def test_batches_that_end_are_refused(model):
    with pytest.raises(ValueError, match="iterated over repeatedly, .* but got the iterator gener"):
        match_macs(model, (batch for batch in Batches()), 0.6)


def test_chosen_images_can_be_read_again():
    images = ChosenImages(Batches(), num_images=3)
    sizes = [[len(batch["data_samples"]) for batch in images] for _ in range(2)]
    assert sizes == [[2, 1]] * 2
