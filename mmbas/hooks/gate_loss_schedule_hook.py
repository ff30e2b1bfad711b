"""Anneals the gate losses during training."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop

from mmbas.hooks.batch_size_check import refuse_small_batches
from mmbas.hooks.schedules import LinearWindow
from mmbas.registry import HOOKS


@HOOKS.register_module()
class GateLossScheduleHook(Hook):
    """Sets the ``factor`` of each gate loss before every iteration.

    The factor is a function of the runner's iteration alone: nothing is stored, so a resumed run
    continues with the factors of an uninterrupted one.

    Args:
        windows: By the loss's name in ``model.gate_losses`` the arguments of
            :class:`LinearWindow`. A loss that is not named keeps the factor 1.
        by_epoch: The windows are in epochs (iteration-accurate all the same), else in iterations.

    Raises:
        ValueError: Before training starts, if a window names a loss that does not exist, or is in
            epochs while the training loop counts iterations.
    """

    def __init__(self, windows: dict[str, dict[str, float]], *, by_epoch: bool = True) -> None:
        self.by_epoch = by_epoch
        self.windows: dict[str, LinearWindow] = {}
        for name, window in windows.items():
            try:
                self.windows[name] = LinearWindow(**window)
            except (TypeError, ValueError) as error:
                raise ValueError(f"schedule window of gate loss {name!r}: {error}") from error

    def before_train(self, runner: Any) -> None:
        """Check that the windows fit the model and the training loop."""
        names = set(gate_losses(runner.model))
        refuse_small_batches(runner)
        if unknown := set(self.windows) - names:
            raise ValueError(
                f"expected schedule windows for the gate losses {sorted(names)}, but got "
                f"{sorted(unknown)}"
            )
        if self.by_epoch and isinstance(runner.train_loop, IterBasedTrainLoop):
            raise ValueError(
                "expected by_epoch=False, since IterBasedTrainLoop has no epochs; give the windows "
                "of GateLossScheduleHook in iterations"
            )
        last = runner.max_epochs if self.by_epoch else runner.max_iters
        unit = "epochs" if self.by_epoch else "iterations"
        for name, window in self.windows.items():
            if window.begin >= last:
                runner.logger.warning(
                    f"the schedule window of gate loss {name!r} begins at {window.begin}, after "
                    f"the last of {last} {unit}: its factor stays {window.start_factor}"
                )

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: dict[str, Any] | None = None
    ) -> None:
        """Set the factors of this iteration."""
        progress = runner.iter / len(runner.train_dataloader) if self.by_epoch else runner.iter
        losses = gate_losses(runner.model)
        for name, window in self.windows.items():
            losses[name].factor = window.factor(progress)


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
