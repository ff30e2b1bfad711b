"""mmbas: channel gated networks and batch-shaping for OpenMMLab."""

__version__ = "0.1.0"
