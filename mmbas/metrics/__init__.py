"""What is measured."""

from mmbas.metrics.conditional_macs import ConditionalMACs, ConditionalParams
from mmbas.metrics.gate_statistics import GateStatistics, gate_shares
from mmbas.metrics.macs import MACCount, count_macs, uncounted_modules

__all__ = [
    "ConditionalMACs",
    "ConditionalParams",
    "GateStatistics",
    "MACCount",
    "count_macs",
    "gate_shares",
    "uncounted_modules",
]
