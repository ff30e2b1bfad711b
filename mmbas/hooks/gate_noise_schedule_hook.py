"""Takes the noise away from the gates during training."""

from __future__ import annotations

from typing import Any

from mmbas.gates import named_gates
from mmbas.hooks.schedule_hook import ScheduleHook
from mmbas.registry import HOOKS


@HOOKS.register_module()
class GateNoiseScheduleHook(ScheduleHook):
    """Sets the ``noise_scale`` of all gates before every iteration.

    A network that trains with noise to the end is tested with other gates than it was trained
    with. Without noise from some iteration on, its weights and batch statistics settle for the
    gates of evaluation. Not part of the batch-shaping paper, which keeps the noise.

    The scale is logged as ``gates/noise_scale``.

    Args:
        window: The arguments of :class:`mmbas.hooks.LinearWindow`, with the scale as its factor:
            ``dict(begin=40, end=70, start_factor=1.0, end_factor=0.0)``.
        by_epoch: The window is in epochs (iteration-accurate all the same), else in iterations.

    Raises:
        ValueError: If the window is none; before training starts, if the model is none that can
            have gates, or the window is in epochs while the training loop counts iterations.

    Note:
        Where ``model.backbone.gate=None`` makes a gated config the plain network's, there is no
        noise, and the hook does nothing.
    """

    # Before LoggerHook (BELOW_NORMAL), so that its line holds this iteration's value.
    priority = "NORMAL"

    def __init__(self, window: dict[str, float], *, by_epoch: bool = True) -> None:
        super().__init__({"noise": window}, by_epoch=by_epoch)

    def changed(self, name: str) -> str:
        """Name of the quantity that the window changes, for messages."""
        return "the gate noise"

    def before_train(self, runner: Any) -> None:
        """Check that there are gates and that the window fits the training loop."""
        if self.has_nothing_to_do(runner):
            return
        if not named_gates(runner.model):
            raise ValueError(
                "expected a model with gates for GateNoiseScheduleHook, but got "
                f"{type(runner.model).__name__} without; drop the hook, or set model.backbone.gate"
            )
        self.check_windows(runner)

    def before_train_iter(
        self, runner: Any, batch_idx: int, data_batch: dict[str, Any] | None = None
    ) -> None:
        """Set the scale of this iteration."""
        gates = named_gates(runner.model).values()
        if not gates:
            return
        scale = self.factors(runner)["noise"]
        for gate in gates:
            gate.noise_scale.fill_(scale)
        runner.message_hub.update_scalar("train/gates/noise_scale", scale)
