"""A sample of a feature's values: some of its channels, at some positions of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

DIMS = ("channel", "layer")


@dataclass(frozen=True)
class Part:
    """Part of a global batch that a process holds: images ``first`` to ``first + number``."""

    first: int
    number: int
    total: int


@dataclass(frozen=True)
class FeatureSample:
    """Values of one feature.

    Attributes:
        values: Shape (values of each, distributions taken).
        num_distributions: Number of distributions that the feature has.
    """

    values: Tensor
    num_distributions: int


@dataclass(frozen=True)
class FeatureSampler:
    """Takes from a feature what a loss is computed on.

    The same positions are taken in all images, so that processes that share a batch take what one
    process with the whole batch takes. Positions, images and channels are spread evenly: one is
    drawn from each of as many equal stretches as are taken.

    Args:
        dim: ``'channel'``, one distribution for each channel, or ``'layer'``, one for all.
        channel_dim: Dimension of the channels, 1 for (N, C, H, W), -1 for (N, tokens, C).
        max_values: Most values of a distribution, over all processes that share a batch.
        max_channels: Most channels of a feature; None takes all.

    Raises:
        ValueError: If an argument is out of range.
    """

    dim: str
    channel_dim: int
    max_values: int
    max_channels: int | None

    def __post_init__(self) -> None:
        if self.dim not in DIMS:
            raise ValueError(f"expected dim to be one of {DIMS}, but got {self.dim!r}")
        if self.channel_dim == 0:
            raise ValueError("expected a channel_dim that is not the batch's, but got 0")
        if self.max_values < 2:
            raise ValueError(f"expected max_values >= 2, but got {self.max_values}")
        if self.max_channels is not None and self.max_channels < 1:
            raise ValueError(f"expected max_channels >= 1 or None, but got {self.max_channels}")

    def take(self, feature: Tensor, generator: torch.Generator, *, shared: bool) -> FeatureSample:
        """A sample as new tensors, with a gradient to the feature.

        Args:
            feature: Shape (N, C, ...).
            generator: Drawn from on the CPU.
            shared: True if all processes share the batch; each then has as many images.

        Raises:
            ValueError: If the feature has no such dimension.
        """
        rows = self._channels_first(feature)  # (N, C, positions)
        num_images, num_channels, num_positions = rows.shape
        part = part_of_batch(num_images, shared=shared)
        if self.max_channels is not None:  # first: whole channels are copied fast
            rows = _select(rows, 1, spread(num_channels, self.max_channels, generator))
        each = max(1, self.max_values // max(1, part.total))
        rows = _select(rows, 2, spread(num_positions, each, generator))
        images = spread(part.total, self.max_values, generator)
        if images is not None:
            own = images[(images >= part.first) & (images < part.first + part.number)]
            rows = _select(rows, 0, own - part.first)
        values = rows.transpose(0, 1).flatten(1)  # each distribution's values side by side
        if values.data_ptr() == feature.data_ptr():
            values = values.clone()
        return FeatureSample(values.t(), num_channels)

    def _channels_first(self, feature: Tensor) -> Tensor:
        """The feature as (N, distributions, values of one image)."""
        if self.dim == "layer":
            return feature.flatten(1).unsqueeze(1) if feature.ndim > 1 else feature.view(-1, 1, 1)
        if not -feature.ndim < self.channel_dim < feature.ndim:
            raise ValueError(
                f"expected features with a dimension {self.channel_dim} of channels, but got shape "
                f"{tuple(feature.shape)}; set channel_dim, or dim='layer'"
            )
        return feature.movedim(self.channel_dim, 1).unsqueeze(2).flatten(2)


def part_of_batch(num_images: int, *, shared: bool) -> Part:
    """The images of this process in the batch of all, or its own batch."""
    if not (shared and dist.is_available() and dist.is_initialized()):
        return Part(0, num_images, num_images)
    return Part(dist.get_rank() * num_images, num_images, dist.get_world_size() * num_images)


def spread(total: int, number: int, generator: torch.Generator) -> Tensor | None:
    """Rising positions below ``total``, one drawn from each of ``number`` equal stretches.

    Returns:
        Shape (number,), int64, on the CPU; None if all positions are to be taken.
    """
    if number >= total:
        return None
    offsets = torch.rand(number, generator=generator, dtype=torch.float64, device="cpu")
    return ((torch.arange(number, device="cpu") + offsets) * (total / number)).long()


def _select(rows: Tensor, dim: int, index: Tensor | None) -> Tensor:
    return rows if index is None else rows.index_select(dim, index.to(rows.device))
