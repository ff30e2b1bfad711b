"""The depths of :class:`mmbas.backbones.GatedResNet`, and which of its options fit together."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from mmbas.blocks import GatedBasicBlock, GatedBottleneck

BLOCKS_OF_DEPTH: dict[
    int, tuple[type[GatedBasicBlock] | type[GatedBottleneck], tuple[int, ...]]
] = {
    18: (GatedBasicBlock, (2, 2, 2, 2)),
    34: (GatedBasicBlock, (3, 4, 6, 3)),
    50: (GatedBottleneck, (3, 4, 6, 3)),
    101: (GatedBottleneck, (3, 4, 23, 3)),
    152: (GatedBottleneck, (3, 8, 36, 3)),
}


def warn_without_effect(setting: str, reason: str) -> None:
    """Warn about a setting that changes nothing, as a user who writes one expects something."""
    warnings.warn(f"{setting} has no effect: {reason}", UserWarning, stacklevel=3)


def check_options(depth: int, style: str) -> None:
    """Raise ValueError for a depth or style that there is not."""
    if depth not in BLOCKS_OF_DEPTH:
        raise ValueError(f"expected depth in {sorted(BLOCKS_OF_DEPTH)}, but got {depth}")
    if style != "pytorch":
        raise ValueError(f"expected style 'pytorch' (stride in the 3x3), but got {style!r}")


def check_stages(
    num_stages: int, strides: Sequence[int], dilations: Sequence[int], out_indices: Sequence[int]
) -> None:
    """Raise ValueError unless the options of the stages fit their number."""
    if not 1 <= num_stages <= 4:
        raise ValueError(f"expected num_stages from 1 to 4, but got {num_stages}")
    if len(strides) < num_stages or len(dilations) < num_stages:
        raise ValueError(
            f"expected a stride and a dilation for each of {num_stages} stages, but got "
            f"{tuple(strides)} and {tuple(dilations)}"
        )
    if not all(0 <= i < num_stages for i in out_indices):
        raise ValueError(f"expected out_indices below {num_stages}, but got {tuple(out_indices)}")
