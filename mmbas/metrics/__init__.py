"""Metrics that evaluators report."""

from mmbas.metrics.conditional_macs import ConditionalMACs, ConditionalParams
from mmbas.metrics.gate_statistics import GateStatistics, gate_shares

__all__ = [
    "ConditionalMACs",
    "ConditionalParams",
    "GateStatistics",
    "gate_shares",
]
