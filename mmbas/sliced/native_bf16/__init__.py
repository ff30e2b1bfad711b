"""Gated backbones on the CPU in bfloat16: C++ kernels that compute open channels only."""

from mmbas.sliced.native_bf16.bf16_backbone import Bf16Backbone, why_unsupported

__all__ = ["Bf16Backbone", "why_unsupported"]
