"""The base of all gates, and how their decisions are collected and replaced from outside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mmbas.gates.conv_macs import GatedConvMACs, is_linear, linear_macs
from mmbas.gates.gate_output import Decision, GateOutput
from mmbas.gates.recorder import forced_logits, forcing, listening, record


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

    @property
    def decisions(self) -> Sequence[int] | None:
        """One gate of each decision, where several gates follow one; None if each has its own."""
        return None

    @property
    def num_decisions(self) -> int:
        """Number of decisions that the losses see."""
        return self.num_gates if self.decisions is None else len(self.decisions)

    @property
    def settings(self) -> dict[str, Tensor]:
        """Scalars that a schedule may set in place, by name; see ``GateSettingScheduleHook``."""
        return {"noise_scale": self.noise_scale}

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

    def decide(self, x: Tensor) -> Decision:
        """Gate logits of ``x``, and what open gates multiply by where that is not 1."""
        return Decision(self.compute_logits(x))

    def logit_biases(self) -> list[nn.Parameter]:
        """Parameters that are added to all logits; none if no number can be added to them.

        Gates may share them: whoever changes them changes each once.
        """
        return []

    def sample(self, logits: Tensor) -> Tensor:
        """Training gates, shape (N, G): stochastic, with a gradient to ``logits``.

        Noise is multiplied by :attr:`noise_scale`; at 0 the gates are those of evaluation.
        """
        raise NotImplementedError

    def module_macs(self, size: tuple[int, int]) -> dict[str, int]:
        """MACs of the gate's own layers for one image, by their names within the gate.

        Linear layers count once. A gate with other layers, or with linear ones that it applies to
        every position, overrides this method.

        Args:
            size: Height and width of the block's input.

        Raises:
            TypeError: If the gate holds convolutions, whose cost its own class must tell.
        """
        return linear_module_macs(self)

    def forward(self, x: Tensor, convs: Sequence[GatedConvMACs] = ()) -> GateOutput:
        """Decide for each image of a batch.

        Args:
            x: The block's input, shape (N, C, H, W).
            convs: Cost of the convolutions that the gates switch, at this input size.
        """
        decision = self.decide(x)
        logits = decision.logits
        forced = forced_logits(self)
        if forced is not None:
            logits = replace_logits(logits, forced)
        gates = self.sample(logits) if self.training else (logits > 0).to(logits.dtype)
        output = GateOutput(logits, gates, convs, self.decisions, decision.scales)
        record(self, output)
        return output


def linear_module_macs(network: nn.Module) -> dict[str, int]:
    """MACs of the linear layers of a gate or gater, each called once for an image, by name.

    Raises:
        TypeError: If it holds convolutions.
    """
    macs = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            raise TypeError(
                f"expected {type(network).__name__}.module_macs(size), since the gate holds the "
                f"convolution {name}, but got a class without it; return the MACs by layer"
            )
        if is_linear(module):
            macs[name] = linear_macs(module)
    return macs


def replace_logits(logits: Tensor, forced: Tensor | float) -> Tensor:
    """Forced logits in the shape, type and place of the computed ones.

    Raises:
        ValueError: If they do not broadcast to the shape of ``logits``.
    """
    values = torch.as_tensor(forced, dtype=logits.dtype, device=logits.device)
    try:
        return values.expand_as(logits).clone()
    except RuntimeError as error:
        raise ValueError(
            f"expected forced logits that broadcast to {tuple(logits.shape)}, but got shape "
            f"{tuple(values.shape)}"
        ) from error


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

    Only what the same thread runs is collected. Statements nest: each gets all outputs.

    Yields:
        For each gate's name the outputs of its calls, in order; filled while the model runs.

    Example:
        >>> import torch
        >>> from mmbas.backbones import GatedResNetCifar
        >>> from mmbas.gates import record_gate_outputs
        >>> backbone = GatedResNetCifar(8).eval()
        >>> with torch.no_grad(), record_gate_outputs(backbone) as outputs:
        ...     _ = backbone(torch.randn(2, 3, 32, 32))
        >>> {name: tuple(calls[0].gates.shape) for name, calls in outputs.items()}
        {'layer1.0.gate': (2, 16), 'layer2.0.gate': (2, 32), 'layer3.0.gate': (2, 64)}
    """
    gates = named_gates(model)
    records: dict[str, list[GateOutput]] = {name: [] for name in gates}
    outputs_of = {gate: records[name] for name, gate in gates.items()}

    def listener(gate: Gate, output: GateOutput) -> None:
        if gate in outputs_of:
            outputs_of[gate].append(output)

    with listening(listener):
        yield records


@contextmanager
def force_gate_logits(model: nn.Module, logits: dict[str, Tensor] | float) -> Iterator[None]:
    """Replace the logits of the gates of ``model`` inside a ``with`` statement.

    For measuring and testing: with a positive number all gates are open in evaluation, with a
    negative one all are closed. The gate networks still run, so timings stay honest. Statements
    nest: the inner one wins for the gates that it names, the outer one holds for the others.

    Args:
        model: Holds the gates.
        logits: One number for all gates, or for each gate's name a tensor that broadcasts to
            its (N, G).

    Raises:
        ValueError: If a name is no gate's.

    Example:
        >>> import torch
        >>> from mmbas.backbones import GatedResNetCifar
        >>> from mmbas.costs import count_macs
        >>> from mmbas.gates import force_gate_logits
        >>> backbone = GatedResNetCifar(8).eval()
        >>> with torch.no_grad(), force_gate_logits(backbone, -1.0), count_macs(backbone) as count:
        ...     _ = backbone(torch.randn(1, 3, 32, 32))
        >>> round(count.macs(1).item() / count.dense_macs(1), 3)  # all gates are closed
        0.036
    """
    gates = named_gates(model)
    values = logits if isinstance(logits, dict) else dict.fromkeys(gates, logits)
    if unknown := set(values) - set(gates):
        raise ValueError(f"expected names of gates, {sorted(gates)}, but got {sorted(unknown)}")
    with forcing({gates[name]: value for name, value in values.items()}):
        yield
