"""Updates of the weights."""

from mmbas.optim.bfloat16_optim_wrapper import BFloat16OptimWrapper

__all__ = ["BFloat16OptimWrapper"]
