"""The smallest backbone: a convolution and one block."""

from torch import nn

from mmbas.backbones import GatedResNetCifar


class OneBlock(GatedResNetCifar):
    """A 3x3 convolution, then one block.

    Args:
        channels: Of the convolution's output and the block's input.
        block: Gated or plain.
    """

    def __init__(self, channels: int, block: nn.Module) -> None:
        super().__init__(8, base_channels=1)
        self.conv1 = nn.Conv2d(3, channels, 3, padding=1)
        self.bn1 = nn.Identity()
        del self.layer2, self.layer3
        self.stage_names = ["layer1"]
        self.layer1 = nn.Sequential(block)
        self.out_indices = (0,)
