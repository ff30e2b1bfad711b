"""Where a gate multiplies channels."""

from mmbas.blocks.block_widths import BlockWidths, widths_of_blocks
from mmbas.blocks.gated_residual import GatedBasicBlock, GatedBottleneck, GatedResidualBlock

__all__ = [
    "BlockWidths",
    "GatedBasicBlock",
    "GatedBottleneck",
    "GatedResidualBlock",
    "widths_of_blocks",
]
