"""Gate losses in training and MACs per image in prediction, for any mmengine model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mmbas.gates import GateOutput, named_gates, record_gate_outputs
from mmbas.metrics.macs import count_macs
from mmbas.registry import MODELS

if TYPE_CHECKING:
    from mmengine.model import BaseModel as _Host
else:
    _Host = object


class GateLossMixin(_Host):
    """Put before a host's model class: ``class GatedX(GateLossMixin, X)``.

    The host needs ``loss(inputs, data_samples) -> dict`` and ``predict(inputs, data_samples) ->
    list`` of data samples, one per image. Training adds each gate loss to the host's loss dict;
    prediction leaves on each data sample ``macs``, ``dense_macs``, ``open_fraction`` and ``gates``.

    Args:
        gate_losses: Configs of the gate losses by name, e.g. ``dict(bas=dict(
            type='mmbas.BatchShapingLoss'), l0=dict(type='mmbas.GateL0Loss'))``. The names are those
            the schedule hook and overrides on the command line use; None drops an inherited entry.

    Attributes:
        last_gates: By gate name the gates of the last training batch as evaluation would decide,
            without noise, shape (N, G), bool.

    Raises:
        ValueError: If there are gate losses but no gates, or two of the same kind.

    Note:
        mmengine logs the total as ``loss``. A host's own entry of that name would hide it there, so
        it is logged as ``loss_task`` where there are gate losses.
    """

    def __init__(
        self, *args: Any, gate_losses: dict[str, dict[str, Any] | None] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
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
        self.last_gates: dict[str, Tensor] = {}

    def loss(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The host's losses and the gate losses of one batch."""
        with record_gate_outputs(self) as records:
            losses: dict[str, Any] = dict(super().loss(*args, **kwargs))
        check_finite(records)
        if "loss" in losses and self.gate_losses:
            losses["loss_task"] = losses.pop("loss")
        outputs = [output for outputs in records.values() for output in outputs]
        gate_loss: Any
        for gate_loss in self.gate_losses.values():
            losses[gate_loss.loss_name] = gate_loss(outputs)
        self.last_gates = {
            name: torch.cat([output.logits.detach() > 0 for output in outputs])
            for name, outputs in records.items()
            if outputs
        }
        return losses

    def predict(self, *args: Any, **kwargs: Any) -> Sequence[Any]:
        """The host's predictions with what each image cost."""
        with count_macs(self) as count:
            data_samples: Sequence[Any] = super().predict(*args, **kwargs)
        check_finite(count.gate_outputs)
        num_images = len(data_samples)
        macs = count.macs(num_images).tolist()
        dense_macs = count.dense_macs(num_images)
        gates = count.open_gates().cpu()
        for i, sample in enumerate(data_samples):
            sample.macs = macs[i]
            sample.dense_macs = dense_macs
            sample.gates = gates[i] if len(gates) else torch.zeros(0, dtype=torch.bool)
            sample.open_fraction = sample.gates.float().mean().item() if len(gates) else 1.0
        return data_samples


def check_finite(records: dict[str, list[GateOutput]]) -> None:
    """Refuse gate logits that are NaN or infinite; their gates would quietly be closed.

    Raises:
        FloatingPointError: With the name of the first such gate.
    """
    names = [name for name, outputs in records.items() for _ in outputs]
    sums = [output.logits.detach().sum() for outputs in records.values() for output in outputs]
    if not sums:
        return
    finite = torch.stack(sums).isfinite()
    if not finite.all():
        name = names[int((~finite).nonzero()[0])]
        raise FloatingPointError(
            f"expected finite gate logits, but got NaN or infinite ones at {name}; lower the "
            "learning rate, clip gradients, or look for invalid input images"
        )
