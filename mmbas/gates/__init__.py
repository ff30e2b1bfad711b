"""Gates, which decide from features."""

from mmbas.gates.binary_concrete import hard_step, sample_binary_concrete
from mmbas.gates.channel_gate import ChannelGate
from mmbas.gates.conv_macs import GatedConvMACs
from mmbas.gates.gate import (
    Gate,
    force_gate_logits,
    init_gates,
    named_gates,
    record_gate_outputs,
)
from mmbas.gates.gate_output import Decision, GateOutput
from mmbas.gates.gater import Gater, is_gate_parameter, state_of_pass
from mmbas.gates.sampled_gate import SampledGate
from mmbas.gates.samplers import Bernoulli, BinaryConcrete, HardStep, Sampler, SemanticHash

__all__ = [
    "Bernoulli",
    "BinaryConcrete",
    "ChannelGate",
    "Decision",
    "Gate",
    "GateOutput",
    "GatedConvMACs",
    "Gater",
    "HardStep",
    "SampledGate",
    "Sampler",
    "SemanticHash",
    "force_gate_logits",
    "hard_step",
    "init_gates",
    "is_gate_parameter",
    "named_gates",
    "record_gate_outputs",
    "sample_binary_concrete",
    "state_of_pass",
]
