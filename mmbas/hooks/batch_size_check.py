"""Refuses training batches that are too small for the gates, before training starts."""

from __future__ import annotations

from typing import Any

from mmengine.dataset import InfiniteSampler
from torch.utils.data import BatchSampler

from mmbas.gates import named_gates


def refuse_small_batches(runner: Any) -> None:
    """Check the batches that the training loader will give, the last one of an epoch included.

    A batch sampler of another kind than torch's is not looked into; each gate checks its batches.

    Raises:
        ValueError: If there will be batches of fewer images than a gate can be trained on.
    """
    needed = max((gate.min_batch_size for gate in named_gates(runner.model).values()), default=1)
    batches = runner.train_dataloader.batch_sampler
    if type(batches) is not BatchSampler:
        return
    sampler: Any = batches.sampler
    size, num_images = batches.batch_size, len(sampler)
    whole = batches.drop_last or isinstance(sampler, InfiniteSampler)
    smallest = size if whole else num_images % size or size
    if smallest < needed:
        raise ValueError(
            f"expected at least {needed} images in every training batch, since the gates use batch "
            f"normalisation, but got {smallest} in "
            + (
                "each; raise train_dataloader.batch_size or train several processes with "
                "norm_cfg=dict(type='SyncBN')"
                if size < needed
                else f"the last batch of an epoch ({num_images} images in batches of {size}); set "
                "train_dataloader.drop_last=True or another batch_size"
            )
        )
