"""Shows during training what the gates do."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from numpy.typing import NDArray
from torch import Tensor

from mmbas.hooks.batch_size_check import refuse_small_batches
from mmbas.hooks.gate_loss_schedule_hook import gate_losses
from mmbas.metrics.gate_statistics import gate_shares
from mmbas.registry import HOOKS


@HOOKS.register_module()
class GateMonitorHook(Hook):
    """Open fraction, share of conditional gates and loss factors, into logger and visualizer.

    Over all gates they appear in mmengine's log line and in every visualizer backend as
    ``gates/open_fraction``, ``gates/train_conditional`` and ``gates/<loss>_factor``. Per layer
    they appear in the backends (TensorBoard) as ``gates/<layer>/open_fraction`` and
    ``gates/<layer>/conditional``, and in one line of the log. (``gates/conditional`` is the share
    over the validation images, of :class:`mmbas.metrics.GateStatistics`; mmengine does not tell
    training from validation.)

    Args:
        interval: Iterations between two reports; each covers the training images since the last
            one, with the gates that evaluation would choose, without noise. 50 iterations of 256
            images are enough to tell an always-off gate (< 1 %) from a conditional one.
    """

    # Before LoggerHook (BELOW_NORMAL), so that its line holds this iteration's values.
    priority = "NORMAL"

    def __init__(self, interval: int = 50) -> None:
        if interval < 1:
            raise ValueError(f"expected interval >= 1, but got {interval}")
        self.interval = interval
        self._num_open: dict[str, Tensor] = {}
        self._num_images = 0

    def before_train(self, runner: Any) -> None:
        """Check that the model has gates to show."""
        gate_losses(runner.model)
        refuse_small_batches(runner)
        self._num_open.clear()
        self._num_images = 0

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Count open gates; report every ``interval`` iterations."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        for name, gates in model.last_gates.items():
            self._num_open[name] = self._num_open.get(name, 0) + gates.sum(dim=0)
        self._num_images += len(next(iter(model.last_gates.values()), ()))
        if self.every_n_train_iters(runner, self.interval):
            self._report(runner)

    def _report(self, runner: Any) -> None:
        for name, loss in gate_losses(runner.model).items():
            runner.message_hub.update_scalar(f"train/gates/{name}_factor", loss.factor)
        rates = self._reset_rates()
        if not rates:
            return
        shown = {_layer(name): _summary(rate) for name, rate in rates.items()}
        total = _summary(np.concatenate(list(rates.values())))
        runner.message_hub.update_scalar("train/gates/open_fraction", total["open_fraction"])
        runner.message_hub.update_scalar("train/gates/train_conditional", total["conditional"])
        runner.visualizer.add_scalars(
            {
                f"gates/{layer}/{key}": value
                for layer in shown
                for key, value in shown[layer].items()
            },
            step=runner.iter + 1,
        )
        runner.logger.info(
            "gates, open fraction (share conditional): "
            + "  ".join(
                f"{layer} {values['open_fraction']:.2f} ({values['conditional']:.2f})"
                for layer, values in shown.items()
            )
        )

    def _reset_rates(self) -> dict[str, NDArray[np.float64]]:
        """Open rates per gate since the last report, over all processes, shape (G,) by gate."""
        rates = {}
        for name, num_open in self._num_open.items():
            counts = torch.cat(
                [num_open.double(), num_open.new_tensor([self._num_images]).double()]
            )
            all_reduce(counts)
            rates[name] = (counts[:-1] / counts[-1]).cpu().numpy()
        self._num_open.clear()
        self._num_images = 0
        return rates


def _layer(gate_name: str) -> str:
    return gate_name.removeprefix("backbone.").removesuffix(".gate")


def _summary(open_rates: NDArray[np.float64]) -> dict[str, float]:
    return {
        "open_fraction": float(open_rates.mean()),
        "conditional": gate_shares(open_rates)["conditional"],
    }
