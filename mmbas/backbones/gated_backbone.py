"""Base class of the gated backbones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModule, initialize
from torch import nn

from mmbas.backbones.network_costs import NetworkCosts, Size, network_costs
from mmbas.backbones.state_dict_check import refuse_foreign_checkpoints
from mmbas.backbones.weight_init import InitConfig, init_entries, loads_checkpoint
from mmbas.gates import init_gates, named_gates
from mmbas.gates.memo import Memo

DEFAULT_INIT: list[dict[str, Any]] = [
    dict(type="Kaiming", layer=["Conv2d"]),
    dict(type="Constant", val=1, layer=["_BatchNorm", "GroupNorm"]),
]


class GatedBackbone(BaseModule):
    """A stem and stages of :class:`mmbas.blocks.GatedResidualBlock`, whose cost is known.

    Loading a checkpoint of another architecture is a ValueError. Gates whose parameters are all
    frozen (``requires_grad=False``) stay in evaluation mode: neither noise nor statistics.

    Args:
        init_cfg: Initialisation, as in mmengine; None initialises as the hosts do.

    Attributes:
        stage_names: Names of the stages in order; each is an ``nn.Sequential`` of blocks.
    """

    stage_names: list[str]
    init_cfg: Any
    is_init: bool

    def __init__(self, init_cfg: InitConfig) -> None:
        super().__init__(DEFAULT_INIT if init_cfg is None else init_cfg)
        refuse_foreign_checkpoints(self)
        self._costs: Memo[Size, NetworkCosts] = Memo()
        self._num_params: Memo[None, int] = Memo()

    def init_weights(self) -> None:
        """Initialise as the hosts do, then the gates, then load what ``init_cfg`` names.

        Weights that were initialised or loaded before stay as they are.
        """
        if self.is_init:
            super().init_weights()  # which says so
            return
        init_cfg = self.init_cfg
        entries = init_entries(init_cfg)
        loads = [entry for entry in entries if loads_checkpoint(entry)]
        self.init_cfg = [entry for entry in entries if entry not in loads]
        # The constructors have initialised the gates; only other entries can have changed that.
        if self.init_cfg or not loads:
            super().init_weights()
            self.init_own_weights()
        initialize(self, loads)
        self.init_cfg = init_cfg
        self.is_init = True

    def init_own_weights(self) -> None:
        """Initialise what the hosts' defaults do not suit: the gates, which do it themselves."""
        init_gates(self)

    def train(self, mode: bool = True) -> GatedBackbone:
        """Switch the mode, but keep gates that are frozen in evaluation."""
        super().train(mode)
        for gate in named_gates(self).values():
            parameters = list(gate.parameters())
            if parameters and not any(parameter.requires_grad for parameter in parameters):
                gate.eval()
        return self

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
