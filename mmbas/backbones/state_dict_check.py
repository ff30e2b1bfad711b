"""Refuse a checkpoint of another architecture instead of loading half of it, and say what loads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from typing import Any

from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor

from mmbas.gates import is_gate_parameter


def refuse_foreign_checkpoints(backbone: BaseModule) -> None:
    """Make loading a state dict that does not fit ``backbone`` a ValueError.

    Hosts load with ``strict=False`` and only log what does not fit, so a ResNet-34 would quietly
    start from half a ResNet-18. Missing gates and foreign heads remain fine: a plain checkpoint
    initialises a gated network and a classifier's the backbone of a segmentor. What was loaded and
    what was not is logged.
    """
    backbone._register_load_state_dict_pre_hook(_check, with_module=True)


def _check(backbone: BaseModule, state_dict: dict[str, Tensor], prefix: str, *_: Any) -> None:
    own = backbone.state_dict()
    given = {
        key[len(prefix) :]: value for key, value in state_dict.items() if key.startswith(prefix)
    }
    if not given and is_gate_parameter(prefix):
        return  # a plain checkpoint initialises a network whose gates share a network of their own
    _check_any_match(own, given, prefix)
    _check_same_blocks(own, given)
    _check_same_shapes(own, given)
    _check_same_stem(own, given)
    _check_same_gates(own, given)
    backbone.is_init = True  # what was loaded is not to be initialised again
    missing, unused = own.keys() - given.keys(), given.keys() - own.keys()
    print_log(
        f"{type(backbone).__name__}: loading {len(own) - len(missing)} of {len(own)} tensors; "
        f"{len(missing)} not in the checkpoint keep their initial values: {_modules(missing)}; "
        f"{len(unused)} in the checkpoint unused: {_modules(unused)}",
        logger="current",
    )


def _modules(keys: Set[str]) -> str:
    """Names of the modules that tensors belong to, a gate counting as one, and how many of each."""
    counts = Counter(_module(key) for key in keys)
    return ", ".join(f"{name} ({counts[name]})" for name in sorted(counts)) or "none"


def _module(key: str) -> str:
    names = key.split(".")
    for whole in ("gate", "gater"):
        if whole in names:
            return ".".join(names[: names.index(whole) + 1])
    return ".".join(names[:-1])


def _check_any_match(own: dict[str, Tensor], given: dict[str, Tensor], prefix: str) -> None:
    if not own.keys() & given.keys():
        raise ValueError(
            f"expected a checkpoint with keys such as {prefix}{next(iter(own))}, but got "
            f"{list(given)[:3]}; for the backbone of a whole model use "
            "init_cfg=dict(type='Pretrained', checkpoint=..., prefix='backbone.')"
        )


def _blocks(keys: Any) -> set[str]:
    return {".".join(key.split(".")[:2]) for key in keys if key.startswith("layer")}


def _in_stages_of(own: dict[str, Tensor], given: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights for the stages that there are: a network may be the beginning of another."""
    stages = {block.split(".")[0] for block in _blocks(own)}
    return {
        key: value
        for key, value in given.items()
        if not key.startswith("layer") or key.split(".")[0] in stages
    }


def _check_same_blocks(own: dict[str, Tensor], given: dict[str, Tensor]) -> None:
    given = _in_stages_of(own, given)
    missing, unexpected = _blocks(own) - _blocks(given), _blocks(given) - _blocks(own)
    if missing or unexpected:
        raise ValueError(
            "expected a checkpoint of the same depth, but got one "
            f"without blocks {sorted(missing)} and with additional blocks {sorted(unexpected)}; "
            "set depth to the checkpoint's"
        )


def _check_same_stem(own: dict[str, Tensor], given: dict[str, Tensor]) -> None:
    missing = [
        key
        for key in own
        if not key.startswith("layer")
        and not is_gate_parameter(key)
        and not key.endswith("num_batches_tracked")  # old files lack these counters
        and key not in given
    ]
    if missing:
        raise ValueError(
            f"expected a checkpoint with the same stem, but it lacks {missing[0]} and "
            f"{len(missing) - 1} more tensors of it; set deep_stem as in the checkpoint's network "
            "(True for mmseg's V1c and V1d)"
        )


def _check_same_shapes(own: dict[str, Tensor], given: dict[str, Tensor]) -> None:
    different = [key for key in own if key in given and own[key].shape != given[key].shape]
    if different:
        key = different[0]
        raise ValueError(
            f"expected a checkpoint of the same depth and width, but {len(different)} of its "
            f"tensors have another shape, e.g. {key}: expected {tuple(own[key].shape)}, got "
            f"{tuple(given[key].shape)}; a reduced checkpoint needs the block_widths of the config "
            "written beside it"
        )


def _check_same_gates(own: dict[str, Tensor], given: dict[str, Tensor]) -> None:
    """A plain checkpoint initialises a gated network; one with gates has those of every block."""
    own_gated, given_gated = (
        {_module(key) for key in keys if is_gate_parameter(key)}
        for keys in (own, _in_stages_of(own, given))
    )
    if own_gated and given_gated and own_gated != given_gated:
        raise ValueError(
            f"expected a checkpoint with gates in {sorted(own_gated)}, but got one with gates in "
            f"{sorted(given_gated)}; a reduced checkpoint needs the block_widths of the config "
            "written beside it"
        )
