"""Multi-scale and flip test of a gated segmentor, whose forward passes all cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmseg.models import SegTTAModel

from mmbas.registry import MODELS


@MODELS.register_module()
class GatedSegTTAModel(SegTTAModel):
    """``mmseg.SegTTAModel`` whose merged predictions carry the cost of all forward passes.

    It takes the place of ``tta_model=dict(type='SegTTAModel')`` where the model has
    :class:`mmbas.models.GateLossMixin`. On each merged data sample ``macs`` and ``dense_macs`` are
    sums over the augmented versions of the image; ``gates`` says which gates were open in any of
    them, and ``open_fraction`` is its mean; ``params`` is the average.
    """

    def merge_preds(self, data_samples_list: Sequence[Sequence[Any]]) -> list[Any]:
        """One prediction per image from the predictions of its augmented versions."""
        merged: list[Any] = super().merge_preds(data_samples_list)
        for sample, versions in zip(merged, data_samples_list, strict=True):
            # The host hands on the sample of the last version: sum before it is overwritten.
            macs = sum(version.macs for version in versions)
            dense_macs = sum(version.dense_macs for version in versions)
            gates = torch.stack([version.gates for version in versions]).any(dim=0)
            sample.macs, sample.dense_macs, sample.gates = macs, dense_macs, gates
            sample.params = sum(version.params for version in versions) / len(versions)
            sample.open_fraction = gates.float().mean().item() if len(gates) else 1.0
        return merged
