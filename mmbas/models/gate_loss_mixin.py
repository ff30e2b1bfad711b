"""Gate losses in training and MACs per image in prediction, for any mmengine model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from typing import TYPE_CHECKING, Any

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor, nn

from mmbas.backbones.weight_init import with_plain_names
from mmbas.costs import MACCount, count_macs
from mmbas.gates import GateOutput, named_gates, record_gate_outputs
from mmbas.gates.memo import Memo
from mmbas.losses.gate_loss import GateBatch
from mmbas.models.dense_macs import count_dense_macs, first_tensor
from mmbas.models.loss_balance import FIRST_ITERATIONS, warn_of_large_losses
from mmbas.registry import MODELS

if TYPE_CHECKING:
    from mmengine.model import BaseModel as _Host
else:
    _Host = object


MAX_SIZES = (
    1024  # image sizes whose dense MACs are kept: a number each, but a forward pass to count
)

# Entry of a host's losses that is no loss but the task's loss of each image, for gate losses.
OF_EACH_IMAGE = "of_each_image"


class GateLosses(_Host):
    """The gate losses of a model, and what else :class:`GateLossMixin` adds to its host."""

    init_cfg: Any

    def __init__(
        self,
        *args: Any,
        gate_losses: dict[str, dict[str, Any] | None] | None = None,
        report_costs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.init_cfg = with_plain_names(self.init_cfg)
        self.report_costs = report_costs
        losses = {name: cfg for name, cfg in (gate_losses or {}).items() if cfg is not None}
        if losses and not named_gates(self):
            raise ValueError(
                f"expected a gated backbone for gate_losses {sorted(losses)}, but the model has no "
                "gates; use backbone=dict(type='mmbas.GatedResNet', ...) or drop gate_losses"
            )
        self.gate_losses = nn.ModuleDict({name: MODELS.build(cfg) for name, cfg in losses.items()})
        loss_names = [loss.loss_name for loss in self.gate_losses.values()]
        if len(set(loss_names)) < len(loss_names):
            raise ValueError(f"expected each gate loss once, but got {loss_names}")
        num_gates = [gate.num_decisions for gate in named_gates(self).values()]
        gate_loss: Any
        for gate_loss in self.gate_losses.values():
            gate_loss.prepare_layers(num_gates)
        self.last_gates: dict[str, Tensor] = {}
        self._dense_macs: Memo[tuple[int, ...], int] = Memo(max_values=MAX_SIZES)
        self._iterations_to_watch = FIRST_ITERATIONS if losses else 0

    def with_gate_losses(
        self, host_losses: Callable[..., dict[str, Any]], *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """The host's losses and the gate losses of one batch.

        Args:
            host_losses: Computes the host's losses.
            args: Arguments of the model's forward pass, which ``host_losses`` gets.
            kwargs: Its named arguments.
        """
        with record_gate_outputs(self) as records:
            losses = dict(host_losses(*args, **kwargs))
        check_finite(records)
        if "loss" in losses and self.gate_losses:
            losses["loss_task"] = losses.pop("loss")
        outputs = [output for outputs in records.values() for output in outputs]
        of_images = losses.pop(OF_EACH_IMAGE, None)
        batch = GateBatch(outputs, lambda: self.dense_macs(*args, **kwargs), of_images)
        gate_loss: Any
        for gate_loss in self.gate_losses.values():
            losses.update(gate_loss.batch_terms(batch))
        self.last_gates = {
            name: torch.cat([output.logits.detach() > 0 for output in outputs])
            for name, outputs in records.items()
            if outputs
        }
        return losses

    def dense_macs(self, *args: Any, **kwargs: Any) -> int:
        """MACs per image of the size of the images among the arguments, with all gates open.

        Counted once for each size, on the first image in evaluation mode: what a training pass
        adds, such as auxiliary heads, is not part of the cost.

        Args:
            args: Arguments of the model's forward pass for a batch, shape (N, 3, H, W).
            kwargs: Its named arguments.
        """

        def compute(_: tuple[int, ...]) -> int:
            # torch.compile would trace the counter's hooks.
            count = torch.compiler.disable(count_dense_macs)
            # In a context of its own: nobody who records this model shall see the pass.
            return Context().run(count, self, args, kwargs)

        shape = first_tensor([*args, *kwargs.values()]).shape
        return self._dense_macs.get(tuple(shape[1:]), compute)

    def with_costs(self, host_predictions: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """The host's predictions with what each image cost.

        Args:
            host_predictions: Computes the host's predictions. Costs are left on data samples only.
            args: Arguments of ``host_predictions``.
            kwargs: Its named arguments.
        """
        if not self.report_costs:
            return host_predictions(*args, **kwargs)
        with count_macs(self) as count:
            predictions: Any = host_predictions(*args, **kwargs)
        check_finite(count.gate_outputs)
        if isinstance(predictions, list | tuple) and all(
            isinstance(sample, BaseDataElement) for sample in predictions
        ):
            _leave_costs(predictions, count)
        return predictions

    def parse_losses(self, losses: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Sum up the losses, as in mmengine; warn of a gate loss that outweighs the task's.

        That is looked for in the first ten iterations, until one is found.
        """
        total, values = super().parse_losses(losses)
        if self._iterations_to_watch > 0 and not torch.compiler.is_compiling():
            found = warn_of_large_losses(values, dict(self.gate_losses.items()))
            self._iterations_to_watch = 0 if found else self._iterations_to_watch - 1
        return total, values


class GateLossMixin(GateLosses):
    """Put before a host's model class: ``class GatedX(GateLossMixin, X)``.

    The host needs ``loss(inputs, data_samples) -> dict`` and ``predict(inputs, data_samples) ->
    list`` of data samples, one per image. Training adds each gate loss to the host's loss dict;
    prediction leaves on each data sample ``macs``, ``dense_macs``, ``params``, ``dense_params``,
    ``open_fraction`` and ``gates``. ``type='mmbas.GatedModel'`` does the same by config.

    Args:
        gate_losses: Configs of the gate losses by name, e.g. ``dict(bas=dict(
            type='mmbas.BatchShapingLoss'), l0=dict(type='mmbas.GateL0Loss'))``. The names are those
            the schedule hook and overrides on the command line use; None drops an inherited entry.
        report_costs: True if prediction leaves costs and gates on the data samples. It takes a
            fraction of a millisecond per call; without it the metrics of ``mmbas`` have nothing
            to read.

    Attributes:
        last_gates: Gates of the last training batch as evaluation would decide, by gate name,
            without noise, shape (N, G), bool.

    Raises:
        ValueError: If there are gate losses but no gates, or two of the same kind.

    Note:
        mmengine logs the total as ``loss``. A host's own entry of that name would hide it there, so
        it is logged as ``loss_task`` where there are gate losses. Images that were padded to one
        batch have the MACs of the batch's size, and what a detector computes for the proposals of
        all images is shared among them evenly.
    """

    def host_losses(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Losses of the host for a batch."""
        losses: dict[str, Any] = super().loss(*args, **kwargs)
        return losses

    def loss(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The host's losses and the gate losses of one batch."""
        return self.with_gate_losses(self.host_losses, *args, **kwargs)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """The host's predictions with what each image cost."""
        return self.with_costs(super().predict, *args, **kwargs)


def _leave_costs(data_samples: Sequence[Any], count: MACCount) -> None:
    """Set on each data sample what its image cost."""
    num_images = len(data_samples)
    costs = count.image_costs(num_images)
    macs, params, gates = costs.macs.tolist(), costs.params.tolist(), costs.gates
    num_gates = gates.shape[1]
    num_open = gates.sum(dim=1).tolist()
    for i, sample in enumerate(data_samples):
        sample.macs = macs[i]
        sample.dense_macs = costs.dense_macs
        sample.params = params[i]
        sample.dense_params = costs.dense_params
        sample.gates = gates[i]
        sample.open_fraction = num_open[i] / num_gates if num_gates else 1.0


def check_finite(records: dict[str, list[GateOutput]]) -> None:
    """Refuse gate logits that are NaN or infinite; their gates would quietly be closed.

    Raises:
        FloatingPointError: With the name of the first such gate.
    """
    logits = [output.logits.flatten() for outputs in records.values() for output in outputs]
    # A sum is one operation where asking each is several; it is not finite if any is not.
    if not logits or math.isfinite(torch.cat(logits).detach().sum()):
        return
    if all(each.isfinite().all() for each in logits):  # too large a sum of finite ones
        return
    names = [name for name, outputs in records.items() for _ in outputs]
    name = next(name for name, each in zip(names, logits, strict=True) if not each.isfinite().all())
    raise FloatingPointError(
        f"expected finite gate logits, but got NaN or infinite ones at {name}; lower the "
        "learning rate, clip gradients, or look for invalid input images"
    )
