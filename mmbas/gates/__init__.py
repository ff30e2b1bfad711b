"""Gates, which decide from features."""

from mmbas.gates.binary_concrete import hard_step, sample_binary_concrete
from mmbas.gates.channel_gate import ChannelGate
from mmbas.gates.conv_gate import ConvGate
from mmbas.gates.conv_macs import GatedConvMACs
from mmbas.gates.dual_gate import DualGate
from mmbas.gates.gate import (
    Gate,
    force_gate_logits,
    init_gates,
    named_gates,
    record_gate_outputs,
)
from mmbas.gates.gate_output import Decision, GateOutput
from mmbas.gates.gater import Gater, SharingGate, is_gate_parameter, state_of_pass
from mmbas.gates.image_gater import GivenGate, ImageGater
from mmbas.gates.linear_gate import LinearGate
from mmbas.gates.recurrent_gate import RecurrentGate, RecurrentGater
from mmbas.gates.sampled_gate import SampledGate
from mmbas.gates.samplers import Bernoulli, BinaryConcrete, HardStep, Sampler, SemanticHash
from mmbas.gates.top_k_gate import TopKGate

__all__ = [
    "Bernoulli",
    "BinaryConcrete",
    "ChannelGate",
    "ConvGate",
    "Decision",
    "DualGate",
    "Gate",
    "GateOutput",
    "GatedConvMACs",
    "Gater",
    "GivenGate",
    "HardStep",
    "ImageGater",
    "LinearGate",
    "RecurrentGate",
    "RecurrentGater",
    "SampledGate",
    "Sampler",
    "SemanticHash",
    "SharingGate",
    "TopKGate",
    "force_gate_logits",
    "hard_step",
    "init_gates",
    "is_gate_parameter",
    "named_gates",
    "record_gate_outputs",
    "sample_binary_concrete",
    "state_of_pass",
]
