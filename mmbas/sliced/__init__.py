"""Doing less work: networks whose closed channels are not computed."""

from mmbas.sliced.accelerate import accelerate
from mmbas.sliced.accelerate_hook import AccelerateHook
from mmbas.sliced.gate_flips import GateFlips, count_gate_flips
from mmbas.sliced.sliced_backbone import SlicedBackbone

__all__ = ["AccelerateHook", "GateFlips", "SlicedBackbone", "accelerate", "count_gate_flips"]
