"""Sliced execution on the GPU with Triton: a prototype, which nobody has run on a GPU yet.

It runs in Triton's interpreter, where the tests compare it with the masked network. What to run
first where there is a GPU is prepared in ``benchmarks/gpu_suite.py``.
"""

from mmbas.sliced.prototype_triton.support import why_unsupported
from mmbas.sliced.prototype_triton.triton_backbone import TritonBackbone

__all__ = ["TritonBackbone", "why_unsupported"]
