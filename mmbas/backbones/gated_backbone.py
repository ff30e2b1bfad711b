"""What the gated backbones share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModule
from torch import nn

from mmbas.backbones.network_costs import NetworkCosts, Size, network_costs
from mmbas.gates.memo import Memo


class GatedBackbone(BaseModule):
    """A stem and stages of :class:`mmbas.blocks.GatedResidualBlock`, whose cost is known.

    Args:
        init_cfg: As in mmengine.

    Attributes:
        stage_names: Names of the stages in order; each is an ``nn.Sequential`` of blocks.
    """

    stage_names: list[str]

    def __init__(self, init_cfg: dict[str, Any] | list[dict[str, Any]] | None) -> None:
        super().__init__(init_cfg)
        self._costs: Memo[Size, NetworkCosts] = Memo()
        self._num_params: Memo[None, int] = Memo()

    @property
    def stages(self) -> list[nn.Module]:
        """The stages in order, each a sequence of blocks."""
        return [self.get_submodule(name) for name in self.stage_names]

    @property
    def stem_pool(self) -> nn.MaxPool2d | None:
        """Pooling between stem and stages; None if there is none."""
        return None

    def costs(self, size: Size) -> NetworkCosts:
        """Costs for one image of height and width ``size``, without running anything."""
        return self._costs.get(size, self._compute_costs)

    @property
    def num_params(self) -> int:
        """Number of parameters."""
        return self._num_params.get(None, lambda _: sum(each.numel() for each in self.parameters()))

    def _compute_costs(self, size: Size) -> NetworkCosts:
        stem = {
            name: module
            for name, module in self.named_modules()
            if isinstance(module, nn.Conv2d) and name.split(".")[0] not in self.stage_names
        }
        stages: Any = dict(zip(self.stage_names, self.stages, strict=True))
        return network_costs(stem, self.stem_pool, stages, size)

    def dense_module_macs(self, input_shape: Sequence[int]) -> dict[str, int]:
        """MACs with all gates open, by module; see :func:`mmbas.costs.count_macs`.

        Args:
            input_shape: Shape of the images, (N, 3, H, W).
        """
        num_images, _, height, width = (int(length) for length in input_shape)
        macs = self.costs((height, width)).module_macs
        return {name: num_images * cost for name, cost in macs.items()}
