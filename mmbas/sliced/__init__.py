"""Doing less work: networks whose closed channels are not computed."""

from mmbas.sliced.accelerate import accelerate
from mmbas.sliced.accelerate_hook import AccelerateHook
from mmbas.sliced.sliced_backbone import SlicedBackbone

__all__ = ["AccelerateHook", "SlicedBackbone", "accelerate"]
