"""Tests a trained model with sliced execution."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn

from mmbas.registry import HOOKS
from mmbas.sliced.accelerate import accelerate


@HOOKS.register_module()
class AccelerateHook(Hook):
    """Runs each test with an accelerated copy of the runner's model, and puts the model back.

    The copy is made anew for each test, after all that load or average weights, so the lowest
    priority is the default.

    Args:
        path: See :func:`mmbas.sliced.accelerate`.
        dtype: See :func:`mmbas.sliced.accelerate`.
    """

    priority = "LOWEST"

    def __init__(self, *, path: str = "auto", dtype: str | None = None) -> None:
        self.path = path
        self.dtype = dtype
        self._model: nn.Module | None = None
        self._was_training = False

    def before_run(self, runner: Runner) -> None:
        """Put the model back if a test was interrupted."""
        self._put_back(runner)

    def before_test_epoch(self, runner: Runner) -> None:
        """Replace the model by an accelerated copy."""
        self._put_back(runner)
        model = _model_of(runner)
        self._was_training = model.training
        accelerated = accelerate(model.eval(), path=self.path, dtype=self.dtype)
        self._model = model
        _set_model(runner, accelerated)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, Any] | None = None) -> None:
        """Put the model back."""
        self._put_back(runner)

    def _put_back(self, runner: Runner) -> None:
        if self._model is not None:
            _set_model(runner, self._model.train(self._was_training))
            self._model = None


def _model_of(runner: Runner) -> nn.Module:
    model: nn.Module = runner.model.module if is_model_wrapper(runner.model) else runner.model
    return model


def _set_model(runner: Runner, model: nn.Module) -> None:
    if is_model_wrapper(runner.model):
        runner.model.module = model
    else:
        runner.model = model
