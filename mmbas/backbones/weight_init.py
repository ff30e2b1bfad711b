"""Entries of an ``init_cfg`` that load a checkpoint."""

from __future__ import annotations

from typing import Any

from mmengine.model.weight_init import PretrainedInit
from mmengine.registry import WEIGHT_INITIALIZERS

InitConfig = dict[str, Any] | list[dict[str, Any]] | None


def loads_checkpoint(entry: dict[str, Any]) -> bool:
    """Tell whether an entry of ``init_cfg`` loads a checkpoint, however its type is written.

    ``'Pretrained'``, ``'mmengine.Pretrained'`` and the class itself mean the same.
    """
    initializer = entry["type"]
    if isinstance(initializer, str):
        initializer = WEIGHT_INITIALIZERS.get(initializer)
    return isinstance(initializer, type) and issubclass(initializer, PretrainedInit)


def init_entries(init_cfg: InitConfig) -> list[dict[str, Any]]:
    """The entries of an ``init_cfg``, which may be one, a list or None."""
    if not init_cfg:
        return []
    return [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg)


def with_plain_names(init_cfg: InitConfig) -> InitConfig:
    """The same ``init_cfg`` with ``type='Pretrained'`` for whatever loads a checkpoint.

    mmengine loads weights after all other initialisation, but only by that name.
    """
    entries = [
        {**entry, "type": "Pretrained"} if loads_checkpoint(entry) else entry
        for entry in init_entries(init_cfg)
    ]
    return entries[0] if isinstance(init_cfg, dict) and entries else entries or init_cfg
