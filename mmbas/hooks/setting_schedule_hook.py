"""Changes a setting of all gates, or of one gate loss, during training."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop

from mmbas.gates import named_gates
from mmbas.hooks.curves import Curve
from mmbas.hooks.gate_loss_schedule_hook import gate_losses
from mmbas.registry import HOOKS


@HOOKS.register_module()
class SettingScheduleHook(Hook):
    """Sets a number before every iteration: a setting of all gates, or of one gate loss.

    The value is a function of the runner's iteration alone: nothing is stored, so a resumed run
    continues with the values of an uninterrupted one. It is logged as ``gates/<setting>``.

    Args:
        setting: Name of the setting: one of :attr:`mmbas.gates.Gate.settings`, such as
            ``'temperature'`` or ``'density'``, or an attribute of the loss, such as
            ``'tightness'``.
        window: The arguments of :class:`mmbas.hooks.Curve`.
        loss: Name of the loss in ``model.gate_losses``; None sets the gates.
        by_epoch: The window is in epochs (iteration-accurate all the same), else in iterations.

    Raises:
        ValueError: If the window is none; before training starts, if nothing has such a setting,
            or the window is in epochs while the training loop counts iterations.
    """

    # Before LoggerHook (BELOW_NORMAL), so that its line holds this iteration's value.
    priority = "NORMAL"

    def __init__(
        self,
        setting: str,
        window: dict[str, Any],
        *,
        loss: str | None = None,
        by_epoch: bool = True,
    ) -> None:
        self.setting = setting
        self.loss = loss
        self.by_epoch = by_epoch
        try:
            self.curve = Curve(**window)
        except (TypeError, ValueError) as error:
            raise ValueError(f"schedule window of {setting!r}: {error}") from error

    def before_train(self, runner: Any) -> None:
        """Check that there is such a setting, and that the window fits the training loop."""
        if self.by_epoch and isinstance(runner.train_loop, IterBasedTrainLoop):
            raise ValueError(
                "expected by_epoch=False, since IterBasedTrainLoop has no epochs; give the window "
                f"of {self.setting!r} in iterations"
            )
        if self.loss is None:
            names = {name for gate in named_gates(runner.model).values() for name in gate.settings}
            if self.setting not in names:
                raise ValueError(
                    f"expected a setting of the gates, {sorted(names)}, but got {self.setting!r}"
                )
            return
        losses = gate_losses(runner.model)
        if self.loss not in losses or not hasattr(losses[self.loss], self.setting):
            raise ValueError(
                f"expected a gate loss, {sorted(losses)}, with the setting {self.setting!r}, but "
                f"got {self.loss!r}"
            )

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: dict[str, Any] | None = None
    ) -> None:
        """Set the value of this iteration."""
        progress = runner.iter / len(runner.train_dataloader) if self.by_epoch else runner.iter
        value = self.curve.value(progress)
        if self.loss is not None:
            setattr(gate_losses(runner.model)[self.loss], self.setting, value)
        else:
            for gate in named_gates(runner.model).values():
                if self.setting in gate.settings:
                    gate.settings[self.setting].fill_(value)
        runner.message_hub.update_scalar(f"train/gates/{self.setting}", value)
