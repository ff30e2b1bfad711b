"""Merging the versions of an image: what each figure of the merged sample is, by hand."""

import pytest
import torch

pytest.importorskip("mmseg")

from mmengine.model import BaseModel
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmbas.models import GatedSegTTAModel


class TwoClasses(BaseModel):
    """What the host's merging reads of a segmentor."""

    out_channels = 2

    def forward(self, inputs, data_samples=None, mode="tensor"):
        raise NotImplementedError


def version(*, macs, params, gates):
    sample = SegDataSample(metainfo=dict(img_path="a.png"))
    sample.seg_logits = PixelData(data=torch.zeros(2, 4, 4))
    sample.macs, sample.dense_macs, sample.params = macs, 100, params
    sample.gates = torch.tensor(gates)
    return sample


def merge(*images):
    return GatedSegTTAModel(TwoClasses()).merge_preds([list(versions) for versions in images])


def test_costs_are_summed_parameters_averaged_gates_united():
    first = [
        version(macs=10.0, params=1000.0, gates=[True, False, False, False]),
        version(macs=20.0, params=2000.0, gates=[False, True, False, False]),
        version(macs=60.0, params=6000.0, gates=[True, False, True, False]),
    ]
    second = [
        version(macs=5.0, params=500.0, gates=[False] * 4),
        version(macs=7.0, params=900.0, gates=[False] * 4),
    ]
    one, two = merge(first, second)
    assert (one.macs, one.dense_macs, one.params, one.open_fraction) == (90, 300, 3000, 0.75)
    assert one.gates.tolist() == [True, True, True, False]
    assert (two.macs, two.dense_macs, two.params, two.open_fraction) == (12, 200, 700, 0.0)


def test_a_network_without_gates_is_open():
    (merged,) = merge([version(macs=1.0, params=2.0, gates=[])] * 2)
    assert (merged.params, merged.open_fraction) == (2, 1.0)
