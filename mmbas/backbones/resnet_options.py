"""The depths of :class:`mmbas.backbones.GatedResNet`, and which of its options fit together."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from mmbas.backbones.weight_init import InitConfig
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

# Arguments of the hosts' ResNet with one meaning here: their defaults, and what others ask for.
HOST_DEFAULTS: dict[str, tuple[tuple[Any, ...], str]] = {
    "conv_cfg": ((None, {"type": "Conv2d"}), "other convolutions than Conv2d"),
    "dcn": ((None,), "deformable convolutions"),
    "stage_with_dcn": ((False,), "deformable convolutions"),
    "plugins": ((None, (), []), "plugins"),
    "multi_grid": ((None,), "dilations within a stage"),
    "in_channels": ((3,), "images of other than 3 channels"),
    "stem_channels": ((64, None), "stems of other than 64 channels"),
    "base_channels": ((64,), "stages of other base widths than 64 channels"),
    "expansion": ((None,), "blocks of another expansion"),
    "drop_path_rate": ((0,), "stochastic depth"),
}


def warn_without_effect(setting: str, reason: str, *, depth: int = 3) -> None:
    """Warn about a setting that changes nothing, as a user who writes one expects something.

    Args:
        setting: Name and value.
        reason: Clause on why it changes nothing.
        depth: Calls up to the line that the warning names.
    """
    warnings.warn(f"{setting} has no effect: {reason}", UserWarning, stacklevel=depth)


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


def check_host_options(options: Mapping[str, Any]) -> None:
    """Accept the hosts' defaults where a config writes them out, and nothing else.

    Raises:
        ValueError: If an option has another value, with what is not supported.
        TypeError: If no host has such an option.
    """
    for name, value in options.items():
        if name not in HOST_DEFAULTS:
            raise TypeError(
                f"expected an argument of GatedResNet, or of {sorted(HOST_DEFAULTS)} at its "
                f"default, but got {name!r}"
            )
        accepted, asked_for = HOST_DEFAULTS[name]
        per_stage = name == "stage_with_dcn" and isinstance(value, Sequence)
        if not all(each in accepted for each in (value if per_stage else [value])):
            raise ValueError(
                f"expected {name}={accepted[0]}, since GatedResNet does not support {asked_for}, "
                f"but got {value!r}; leave it out, or use the host's plain backbone"
            )


def initialisation(init_cfg: InitConfig, pretrained: str | None) -> InitConfig:
    """The ``init_cfg`` that ``pretrained``, the hosts' older word, means.

    Raises:
        TypeError: If ``pretrained`` is no path.
        ValueError: If both are given.
    """
    if pretrained is None:
        return init_cfg
    if not isinstance(pretrained, str):
        raise TypeError(f"expected pretrained to be a path or None, but got {pretrained!r}")
    if init_cfg is not None:
        raise ValueError(
            "expected either init_cfg or pretrained, which is short for init_cfg=dict("
            f"type='Pretrained', checkpoint=...), but got both, pretrained={pretrained!r}"
        )
    return dict(type="Pretrained", checkpoint=pretrained)
