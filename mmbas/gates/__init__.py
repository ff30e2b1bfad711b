"""Gates, which decide from features."""

from mmbas.gates.binary_concrete import sample_binary_concrete
from mmbas.gates.channel_gate import ChannelGate
from mmbas.gates.conv_macs import GatedConvMACs
from mmbas.gates.gate import (
    Gate,
    force_gate_logits,
    init_gates,
    named_gates,
    record_gate_outputs,
)
from mmbas.gates.gate_output import GateOutput

__all__ = [
    "ChannelGate",
    "Gate",
    "GateOutput",
    "GatedConvMACs",
    "force_gate_logits",
    "init_gates",
    "named_gates",
    "record_gate_outputs",
    "sample_binary_concrete",
]
