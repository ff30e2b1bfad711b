"""Gated backbones on the CPU: C++ kernels that compute open channels only."""

from mmbas.sliced.native.native_backbone import NativeBackbone, why_unsupported

__all__ = ["NativeBackbone", "why_unsupported"]
