"""Gate losses in training and MACs per image in prediction, for any mmengine model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mmbas.costs.mac_count import count_macs
from mmbas.gates import GateOutput, named_gates, record_gate_outputs
from mmbas.losses import BatchShapingLoss, TargetMACsLoss, macs_fraction
from mmbas.registry import MODELS

if TYPE_CHECKING:
    from mmengine.model import BaseModel as _Host
else:
    _Host = object


class GateLossMixin(_Host):
    """Put before a host's model class: ``class GatedX(GateLossMixin, X)``.

    The host needs ``loss(inputs, data_samples) -> dict`` and ``predict(inputs, data_samples) ->
    list`` of data samples, one per image. Training adds each gate loss to the host's loss dict;
    prediction leaves on each data sample ``macs``, ``dense_macs``, ``params``, ``dense_params``,
    ``open_fraction`` and ``gates``.

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
        num_gates = sum(gate.num_gates for gate in named_gates(self).values())
        for loss in self.gate_losses.values():
            if isinstance(loss, BatchShapingLoss) and loss.queue is not None:
                loss.queue.reserve(num_gates)
        self.last_gates: dict[str, Tensor] = {}
        self._dense_macs: dict[tuple[int, ...], int] = {}

    def host_losses(self, inputs: Tensor, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """What the host's ``loss`` computes for a batch ``inputs``, shape (N, 3, H, W)."""
        losses: dict[str, Any] = super().loss(inputs, *args, **kwargs)
        return losses

    def loss(self, inputs: Tensor, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The host's losses and the gate losses of one batch."""
        with record_gate_outputs(self) as records:
            losses = dict(self.host_losses(inputs, *args, **kwargs))
        check_finite(records)
        if "loss" in losses and self.gate_losses:
            losses["loss_task"] = losses.pop("loss")
        outputs = [output for outputs in records.values() for output in outputs]
        gate_loss: Any
        for gate_loss in self.gate_losses.values():
            if isinstance(gate_loss, TargetMACsLoss):
                dense_macs = self.dense_macs(inputs)
                fraction = macs_fraction(outputs, dense_macs, noise=gate_loss.noise)
                losses["macs_fraction"] = fraction.detach()
                losses[gate_loss.loss_name] = gate_loss(fraction)
            else:
                losses[gate_loss.loss_name] = gate_loss(outputs)
        self.last_gates = {
            name: torch.cat([output.logits.detach() > 0 for output in outputs])
            for name, outputs in records.items()
            if outputs
        }
        return losses

    def dense_macs(self, inputs: Tensor) -> int:
        """MACs per image of the size of ``inputs``, shape (N, 3, H, W), with all gates open.

        Counted once for each size, on one image in evaluation mode: what a training pass adds,
        such as auxiliary heads, is not part of the cost.
        """
        size = tuple(inputs.shape[1:])
        if size not in self._dense_macs:
            # torch.compile would trace the counter's hooks.
            self._dense_macs[size] = torch.compiler.disable(count_dense_macs)(self, inputs)
        return self._dense_macs[size]

    def predict(self, *args: Any, **kwargs: Any) -> Sequence[Any]:
        """The host's predictions with what each image cost."""
        with count_macs(self) as count:
            data_samples: Sequence[Any] = super().predict(*args, **kwargs)
        check_finite(count.gate_outputs)
        num_images = len(data_samples)
        macs = count.macs(num_images).tolist()
        dense_macs = count.dense_macs(num_images)
        params = used_params(self, count.gate_outputs, num_images).tolist()
        dense_params = num_params(self)
        gates = count.open_gates().cpu()
        for i, sample in enumerate(data_samples):
            sample.macs = macs[i]
            sample.dense_macs = dense_macs
            sample.params = params[i]
            sample.dense_params = dense_params
            sample.gates = gates[i] if len(gates) else torch.zeros(0, dtype=torch.bool)
            sample.open_fraction = sample.gates.float().mean().item() if len(gates) else 1.0
        return data_samples


@torch.no_grad()
def count_dense_macs(model: Any, inputs: Tensor) -> int:
    """Dense MACs of ``model(inputs[:1], mode='tensor')`` in evaluation mode."""
    modes = {module: module.training for module in model.modules()}
    try:
        with count_macs(model.eval()) as count:
            model(inputs[:1], mode="tensor")
    finally:
        for module, training in modes.items():
            module.training = training
    return count.dense_macs(num_images=1)


def num_params(model: nn.Module) -> int:
    """Number of parameters, of an accelerated model those before its norm layers were folded."""
    before: int | None = getattr(model, "num_params_before_folding", None)
    return before or sum(parameter.numel() for parameter in model.parameters())


def used_params(
    model: nn.Module, gate_outputs: dict[str, list[GateOutput]], num_images: int
) -> Tensor:
    """Parameters that each image uses, shape (num_images,), float64.

    All but the weights of convolutions between closed channels; a channel that is open in any
    call for an image (a window, a scale) is used.
    """
    params = torch.full((num_images,), float(num_params(model)), dtype=torch.float64)
    for outputs in gate_outputs.values():
        if outputs:
            gates = torch.stack([output.gates.detach() for output in outputs]).amax(dim=0)
            output = replace(outputs[0], gates=gates)
            params -= output.dense_params - output.params().cpu()
    return params


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
