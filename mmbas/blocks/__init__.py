"""Where a gate multiplies channels."""

from mmbas.blocks.basic_block import GatedBasicBlock
from mmbas.blocks.block_widths import BlockWidths, widths_of_blocks
from mmbas.blocks.bottleneck import GatedBottleneck
from mmbas.blocks.gate_seats import GateSeats, gate_seats
from mmbas.blocks.gated_residual import GatedResidualBlock

__all__ = [
    "BlockWidths",
    "GateSeats",
    "GatedBasicBlock",
    "GatedBottleneck",
    "GatedResidualBlock",
    "gate_seats",
    "widths_of_blocks",
]
