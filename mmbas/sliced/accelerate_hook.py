"""Tests a trained model with sliced execution."""

from __future__ import annotations

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmbas.sliced.accelerate import accelerate


class AccelerateHook(Hook):
    """Accelerates the runner's model before a test, after all that load or average its weights.

    Register it with ``priority='LOWEST'``.

    Args:
        path: See :func:`mmbas.sliced.accelerate`.
    """

    def __init__(self, *, path: str = "auto") -> None:
        self.path = path

    def before_test_epoch(self, runner: Runner) -> None:
        """Replace the model by an accelerated copy."""
        if is_model_wrapper(runner.model):
            runner.model.module = accelerate(runner.model.module.eval(), path=self.path)
        else:
            runner.model = accelerate(runner.model.eval(), path=self.path)
