"""What a gate tells its consumers: losses, MAC counts, statistics, fast execution."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmbas.gates.conv_macs import GatedConvMACs


@dataclass(frozen=True)
class GateOutput:
    """Decisions of one gate for one batch; consumers need not know which kind of gate it was.

    Attributes:
        logits: Gate logits, shape (N, G).
        gates: 0/1 decisions, shape (N, G); in training with a gradient to ``logits``.
        convs: The convolutions whose cost depends on these gates.
    """

    logits: Tensor
    gates: Tensor
    convs: Sequence[GatedConvMACs] = ()

    @property
    def probs(self) -> Tensor:
        """Gate probs ``sigmoid(logits)``, shape (N, G)."""
        return self.logits.sigmoid()

    @property
    def dense_macs(self) -> int:
        """MACs of the gated convolutions for one image with all gates open."""
        return sum(conv.macs for conv in self.convs)

    @property
    def dense_params(self) -> int:
        """Weights of the gated convolutions that are used with all gates open."""
        return sum(conv.params for conv in self.convs)

    def macs(self) -> Tensor:
        """MACs of the gated convolutions for each image, shape (N,), float64, differentiable."""
        return self._open_share([conv.macs for conv in self.convs])

    def params(self) -> Tensor:
        """Weights of the gated convolutions that each image uses, shape (N,), float64."""
        return self._open_share([conv.params for conv in self.convs])

    def _open_share(self, dense: Sequence[int]) -> Tensor:
        """Sum over the convolutions of what is left of ``dense`` between open channels."""
        gates = self.gates.double()
        total = gates.new_zeros(len(gates))
        for conv, amount in zip(self.convs, dense, strict=True):
            share = torch.full_like(total, amount)
            for gated in (conv.inputs, conv.outputs):
                if gated is not None:
                    share = share * gates[:, gated].mean(dim=1)
            total = total + share
        return total


class Gate(nn.Module):
    """Base of all gates: a module from a block's input to a :class:`GateOutput`.

    Attributes:
        num_gates: Number of gates, G.
        noise_scale: Factor of the noise that :meth:`sample` draws, a scalar, 1 unless a schedule
            sets it. A tensor, since torch.compile would compile again for each new number; a gate
            without noise ignores it.
    """

    noise_scale: Tensor

    def __init__(self, num_gates: int) -> None:
        super().__init__()
        self.num_gates = num_gates
        self.register_buffer("noise_scale", torch.ones(()), persistent=False)
        self._records: list[GateOutput] | None = None
        self._forced_logits: Tensor | float | None = None

    @property
    def min_batch_size(self) -> int:
        """Fewest images per batch and process that the gate can be trained on."""
        return 1

    def init_weights(self) -> None:
        """Initialise the gate's own weights; the hosts' defaults do not suit it."""
        raise NotImplementedError

    def compute_logits(self, x: Tensor) -> Tensor:
        """Gate logits, shape (N, G), float32, of a block's input ``x``, shape (N, C, H, W)."""
        raise NotImplementedError

    def sample(self, logits: Tensor) -> Tensor:
        """Training gates, shape (N, G): stochastic, with a gradient to ``logits``.

        Noise is multiplied by :attr:`noise_scale`; at 0 the gates are those of evaluation.
        """
        raise NotImplementedError

    def forward(self, x: Tensor, convs: Sequence[GatedConvMACs] = ()) -> GateOutput:
        """Decide for each image of a batch.

        Args:
            x: The block's input, shape (N, C, H, W).
            convs: Cost of the convolutions that the gates switch, at this input size.
        """
        logits = self.compute_logits(x)
        if self._forced_logits is not None:
            logits = torch.zeros_like(logits) + self._forced_logits
        gates = self.sample(logits) if self.training else (logits > 0).to(logits.dtype)
        output = GateOutput(logits, gates, convs)
        if self._records is not None:
            self._records.append(output)
        return output


def named_gates(model: nn.Module) -> dict[str, Gate]:
    """The gates of a model by name, in the order of the blocks."""
    return {name: module for name, module in model.named_modules() if isinstance(module, Gate)}


def init_gates(model: nn.Module) -> None:
    """Let every gate of ``model`` initialise itself."""
    for gate in named_gates(model).values():
        gate.init_weights()


@contextmanager
def record_gate_outputs(model: nn.Module) -> Iterator[dict[str, list[GateOutput]]]:
    """Collect what the gates of ``model`` decide inside a ``with`` statement.

    Yields:
        For each gate's name the outputs of its calls, in order; filled while the model runs.

    Note:
        The model, not the thread, is recorded: do not run one model in two threads meanwhile.
    """
    gates = named_gates(model)
    outer = {name: gate._records for name, gate in gates.items()}
    records: dict[str, list[GateOutput]] = {name: [] for name in gates}
    for name, gate in gates.items():
        gate._records = records[name]
    try:
        yield records
    finally:
        for name, gate in gates.items():
            previous = outer[name]
            if previous is not None:
                previous.extend(records[name])
            gate._records = previous


@contextmanager
def force_gate_logits(model: nn.Module, logits: dict[str, Tensor] | float) -> Iterator[None]:
    """Replace the logits of the gates of ``model`` inside a ``with`` statement.

    For measuring and testing: with a positive number all gates are open in evaluation, with a
    negative one all are closed. The gate networks still run, so timings stay honest.

    Args:
        model: Holds the gates.
        logits: One number for all gates, or for each gate's name a tensor that broadcasts to
            its (N, G).
    """
    gates = named_gates(model)
    if isinstance(logits, dict) and (unknown := set(logits) - set(gates)):
        raise ValueError(f"expected names of gates, {sorted(gates)}, but got {sorted(unknown)}")
    for name, gate in gates.items():
        gate._forced_logits = logits.get(name) if isinstance(logits, dict) else logits
    try:
        yield
    finally:
        for gate in gates.values():
            gate._forced_logits = None
