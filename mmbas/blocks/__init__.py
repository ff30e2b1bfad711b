"""Where a gate multiplies channels."""

from mmbas.blocks.gated_residual import GatedBasicBlock, GatedBottleneck, GatedResidualBlock

__all__ = ["GatedBasicBlock", "GatedBottleneck", "GatedResidualBlock"]
