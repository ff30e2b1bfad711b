"""Tells when a gate loss outweighs the task, which then is hardly learned."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mmengine.logging import print_log

# A gate loss of so many times the task's loss is warned of, in so many first iterations.
TOO_MANY_TIMES = 10.0
FIRST_ITERATIONS = 10


def warn_of_large_losses(values: Mapping[str, Any], gate_losses: Mapping[str, Any]) -> bool:
    """Warn of each gate loss that exceeds ten times the task's loss.

    Args:
        values: Losses of one batch by their names in the log, with the total as ``loss``.
        gate_losses: Gate losses of the model by their names in its config.

    Returns:
        True if there was one. A task without a loss, or with one of 0, is no measure.
    """
    own = {loss.loss_name: (name, loss) for name, loss in gate_losses.items()}
    task = sum(
        float(value.detach())
        for name, value in values.items()
        if "loss" in name and name != "loss" and name.removesuffix("_hyper") not in own
    )
    if not task:
        return False
    given = {name: float(values[name].detach()) for name in own if name in values}
    large = {name: value for name, value in given.items() if value > TOO_MANY_TIMES * abs(task)}
    for loss_name, value in large.items():
        name, loss = own[loss_name]
        print_log(
            f"{loss_name} is {value:.3g}, while the task's loss is {task:.3g}: the gates outweigh "
            f"the task. {loss.advice_if_large.format(name=f'model.gate_losses.{name}')}",
            logger="current",
            level=logging.WARNING,
        )
    return bool(large)
