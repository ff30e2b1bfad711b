"""Sliced execution on the GPU with Triton. Experimental: nobody has run it on a GPU yet."""

from mmbas.sliced.triton.support import why_unsupported
from mmbas.sliced.triton.triton_backbone import TritonBackbone

__all__ = ["TritonBackbone", "why_unsupported"]
