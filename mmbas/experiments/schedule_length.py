"""The same schedule in fewer or more epochs."""

from __future__ import annotations

import copy
from typing import Any

from mmengine.config import Config

from mmbas.registry import type_name

LENGTH_KEYS = ("begin", "end", "T_max", "step_size")
WINDOW_KEYS = ("begin", "end")


def scale_schedule(config: Config, length: int) -> Config:
    """A copy of ``config`` that trains for ``length`` epochs, or iterations if it counts those.

    The learning rate's milestones and the windows of the gate losses and of the gate noise keep
    their place in proportion. Milestones are whole numbers, so they are rounded; windows are not.

    Args:
        config: With ``train_cfg``, ``param_scheduler`` and hooks.
        length: Epochs or iterations, >= 1.

    Raises:
        ValueError: If length < 1 or the config does not say how long it trains.
    """
    if length < 1:
        raise ValueError(f"expected a length of at least 1, but got {length}")
    scaled = copy.deepcopy(config)
    unit = "max_epochs" if "max_epochs" in scaled.train_cfg else "max_iters"
    if unit not in scaled.train_cfg:
        raise ValueError(
            f"expected max_epochs or max_iters in train_cfg, but got {sorted(scaled.train_cfg)}"
        )
    factor = length / scaled.train_cfg[unit]
    scaled.train_cfg[unit] = length
    scaled.train_cfg.val_interval = max(1, round(scaled.train_cfg.get("val_interval", 1) * factor))
    for scheduler in _as_list(scaled.param_scheduler):
        _scale_scheduler(scheduler, factor)
    for hook in scaled.get("custom_hooks") or []:
        if type_name(hook).endswith("ScheduleHook"):
            for window in _windows(hook):
                window.update({key: window[key] * factor for key in WINDOW_KEYS})
    return scaled


def _scale_scheduler(scheduler: Any, factor: float) -> None:
    for key in LENGTH_KEYS:
        if key in scheduler:
            scheduler[key] = round(scheduler[key] * factor)
    if "milestones" in scheduler:
        scheduler["milestones"] = [round(epoch * factor) for epoch in scheduler["milestones"]]


def _windows(hook: Any) -> list[Any]:
    """The windows of a schedule hook, which has several by name or a single one."""
    return [*hook.get("windows", {}).values(), *([hook["window"]] if "window" in hook else [])]


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
