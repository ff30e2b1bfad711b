"""Doing less work: networks whose closed channels are not computed."""

from mmbas.inference.accelerate import accelerate
from mmbas.inference.accelerate_hook import AccelerateHook
from mmbas.inference.sliced_backbone import SlicedBackbone

__all__ = ["AccelerateHook", "SlicedBackbone", "accelerate"]
