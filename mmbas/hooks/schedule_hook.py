"""Base of the hooks that change something over windows of the training."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop

from mmbas.gates import named_gates
from mmbas.hooks.schedules import LinearWindow


class ScheduleHook(Hook):
    """Factors that are functions of the runner's iteration alone.

    Nothing is stored, so a resumed run continues with the factors of an uninterrupted one.

    Args:
        windows: The arguments of :class:`LinearWindow`, by the name of what they change.
        by_epoch: The windows are in epochs (iteration-accurate all the same), else in iterations.

    Raises:
        ValueError: If a window is none.
    """

    def __init__(self, windows: dict[str, dict[str, float]], *, by_epoch: bool = True) -> None:
        self.by_epoch = by_epoch
        self.windows: dict[str, LinearWindow] = {}
        for name, window in windows.items():
            try:
                self.windows[name] = LinearWindow(**window)
            except (TypeError, ValueError) as error:
                raise ValueError(f"schedule window of {self.changed(name)}: {error}") from error

    def changed(self, name: str) -> str:
        """Name of the quantity that the window ``name`` changes, for messages."""
        raise NotImplementedError

    def has_nothing_to_do(self, runner: Any) -> bool:
        """Tell, also in the log, whether a model that can have gate losses has no gates.

        That is the plain network of a gated config: ``model.backbone.gate=None``.
        """
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if (
            named_gates(model)
            or not hasattr(model, "gate_losses")
            or getattr(model, "shaping_losses", None)
        ):
            return False
        runner.logger.info(f"{type(self).__name__} does nothing: the model has no gates")
        return True

    def check_windows(self, runner: Any) -> None:
        """Check that the windows fit the training loop; warn of one that begins after the end.

        Raises:
            ValueError: If they are in epochs while the training loop counts iterations.
        """
        if self.by_epoch and isinstance(runner.train_loop, IterBasedTrainLoop):
            raise ValueError(
                "expected by_epoch=False, since IterBasedTrainLoop has no epochs; give the windows "
                f"of {type(self).__name__} in iterations"
            )
        last = runner.max_epochs if self.by_epoch else runner.max_iters
        unit = "epochs" if self.by_epoch else "iterations"
        for name, window in self.windows.items():
            if window.begin >= last:
                runner.logger.warning(
                    f"the schedule window of {self.changed(name)} begins at {window.begin}, after "
                    f"the last of {last} {unit}: its factor stays {window.start_factor}"
                )

    def factors(self, runner: Any) -> dict[str, float]:
        """The factor of each window at the runner's iteration."""
        progress = runner.iter / len(runner.train_dataloader) if self.by_epoch else runner.iter
        return {name: window.factor(progress) for name, window in self.windows.items()}
