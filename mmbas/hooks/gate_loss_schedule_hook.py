"""Anneals gate losses and shaping losses during training."""

from __future__ import annotations

from typing import Any

from mmengine.model import is_model_wrapper

from mmbas.hooks.batch_size_check import refuse_small_batches
from mmbas.hooks.schedule_hook import ScheduleHook
from mmbas.registry import HOOKS


@HOOKS.register_module()
class GateLossScheduleHook(ScheduleHook):
    """Sets the ``factor`` of each gate loss and shaping loss before every iteration.

    The factor is a function of the runner's iteration alone: nothing is stored, so a resumed run
    continues with the factors of an uninterrupted one.

    Args:
        windows: Names of losses in ``model.gate_losses`` or ``model.shaping_losses``, and for each
            the arguments of :class:`mmbas.hooks.LinearWindow`. A loss that is not named keeps the
            factor 1.
        by_epoch: The windows are in epochs (iteration-accurate all the same), else in iterations.

    Raises:
        ValueError: Before training starts, if a window names a loss that does not exist, or is in
            epochs while the training loop counts iterations.

    Note:
        Where ``model.backbone.gate=None`` makes a gated config the plain network's, there are no
        losses, and the hook does nothing.
    """

    def changed(self, name: str) -> str:
        """Name of the quantity that the window ``name`` changes, for messages."""
        return f"gate loss {name!r}"

    def before_train(self, runner: Any) -> None:
        """Check that the windows fit the model and the training loop."""
        names = set(scheduled_losses(runner.model))
        if self.has_nothing_to_do(runner):
            return
        refuse_small_batches(runner)
        if unknown := set(self.windows) - names:
            raise ValueError(
                f"expected schedule windows for the gate losses {sorted(names)}, but got "
                f"{sorted(unknown)}"
            )
        self.check_windows(runner)

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: dict[str, Any] | None = None
    ) -> None:
        """Set the factors of this iteration."""
        losses = scheduled_losses(runner.model)
        if losses:
            for name, factor in self.factors(runner).items():
                losses[name].factor = factor


def scheduled_losses(model: Any) -> dict[str, Any]:
    """The gate losses and the shaping losses by name of a model, wrapped for DDP or not.

    Raises:
        ValueError: If the model has neither, or a name stands for two losses.
    """
    if is_model_wrapper(model):
        model = model.module
    if not hasattr(model, "shaping_losses"):
        return gate_losses(model)
    shaping = dict(model.shaping_losses.items())
    gates = gate_losses(model) if hasattr(model, "gate_losses") else {}
    if both := shaping.keys() & gates.keys():
        raise ValueError(
            f"expected names that differ for gate_losses and shaping_losses, but got {sorted(both)}"
            " in both; rename one of them"
        )
    return gates | shaping


def gate_losses(model: Any) -> dict[str, Any]:
    """The gate losses by name of a model with ``GateLossMixin``, wrapped for DDP or not.

    Raises:
        ValueError: If the model has none.
    """
    if is_model_wrapper(model):
        model = model.module
    if not hasattr(model, "gate_losses"):
        raise ValueError(
            "expected a model with gate_losses, such as type='mmbas.GatedImageClassifier', but got "
            f"{type(model).__name__}"
        )
    return dict(model.gate_losses.items())
