"""Refuses training batches that are too small for the gates, before training starts."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from inspect import signature
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from torch.utils.data import BatchSampler

from mmbas.gates import named_gates

_checked: WeakSet[Any] = WeakSet()  # loaders that are in order; several hooks ask


def refuse_small_batches(runner: Any) -> None:
    """Check the batches that the training loader will give, the last one of an epoch included.

    A batch sampler of another kind than torch's is copied and run through for an epoch, which loads
    no images. Of one that has no end, or cannot be copied, each gate checks the batches.

    Raises:
        ValueError: If there will be batches of fewer images than a gate can be trained on.
    """
    needed = max((gate.min_batch_size for gate in named_gates(runner.model).values()), default=1)
    loader = runner.train_dataloader
    if needed == 1 or loader in _checked:
        return
    batches = loader.batch_sampler
    sizes = _sizes(batches, loader.dataset)
    if sizes and min(sizes) < needed:
        size, last = max(sizes), min(sizes)
        raise ValueError(
            f"expected at least {needed} images in every training batch, since the gates use batch "
            f"normalisation, but got {last} in "
            + (
                "each; raise train_dataloader.batch_size or train several processes with "
                "norm_cfg=dict(type='SyncBN')"
                if size < needed
                else f"the last batch of an epoch ({sum(sizes)} images in batches of {size}); set "
                f"{_key_of_drop_last(batches)}another train_dataloader.batch_size"
            )
        )
    _checked.add(loader)


def _sizes(batches: Any, dataset: Any) -> list[int]:
    """Sizes of the batches of an epoch; none if they cannot be known before."""
    sampler: Any = getattr(batches, "sampler", None)
    endless = isinstance(sampler, InfiniteSampler)
    if type(batches) is BatchSampler:
        if endless or batches.drop_last:
            return [batches.batch_size]
        whole, rest = divmod(len(sampler), batches.batch_size)
        return [batches.batch_size] * whole + [rest] * (rest > 0)
    if endless or not _is_sized(batches):
        return []
    # The images stay where they are, in the list of what is copied already.
    shared = {id(each): each for each in (dataset, getattr(sampler, "dataset", None))}
    try:
        copied = copy.deepcopy(batches, shared)
    except (TypeError, RuntimeError):
        return []
    with _random_numbers_kept():
        return [len(batch) for batch in copied]


def _is_sized(value: Any) -> bool:
    """Tell whether ``len(value)`` works; torch's base class of samplers has none."""
    try:
        return isinstance(value, Sized) and len(value) >= 0
    except (TypeError, NotImplementedError):
        return False


def _key_of_drop_last(batches: Any) -> str:
    """Advice to drop the last batch, by the key that works with this batch sampler."""
    if type(batches) is BatchSampler:
        return "train_dataloader.drop_last=True or "
    if "drop_last" in signature(type(batches).__init__).parameters:
        return "train_dataloader.batch_sampler.drop_last=True or "
    return ""


@contextmanager
def _random_numbers_kept() -> Iterator[None]:
    """Leave the random numbers of training as if nothing was drawn inside."""
    own, of_numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(own)
        np.random.set_state(of_numpy)
