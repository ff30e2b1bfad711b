"""Base class of the gated backbones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModule, initialize
from torch import Tensor, nn

from mmbas.backbones.network_costs import NetworkCosts, Size, network_costs
from mmbas.backbones.state_dict_check import refuse_foreign_checkpoints
from mmbas.backbones.weight_init import InitConfig, init_entries, loads_checkpoint
from mmbas.blocks import GatedResidualBlock
from mmbas.gates import Gater, init_gates, named_gates
from mmbas.gates.gater import beginning
from mmbas.gates.memo import Memo
from mmbas.registry import MODELS, type_name

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
        gater: Part that the gates share; None where each decides by itself.
    """

    stage_names: list[str]
    init_cfg: Any
    is_init: bool

    def __init__(self, init_cfg: InitConfig) -> None:
        super().__init__(DEFAULT_INIT if init_cfg is None else init_cfg)
        refuse_foreign_checkpoints(self)
        self.gater: Gater | None = None
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
        if self.gater is not None:
            self.gater.init_weights()

    def add_gater(self, gater: dict[str, Any] | None, norm_cfg: dict[str, Any]) -> None:
        """Build the part that the gates share, once the blocks are there.

        Args:
            gater: Its config; None where each gate decides by itself.
            norm_cfg: Config of the norm layers; with SyncBN the gater synchronises too.

        Raises:
            TypeError: If it is the config of something else.
            ValueError: If there are no gates.
        """
        if gater is None:
            return
        gates = list(named_gates(self).values())
        if not gates:
            raise ValueError("expected gates that share a gater, but got none; set gater=None too")
        built: Any = MODELS.build(gater)
        if not isinstance(built, Gater):
            raise TypeError(f"expected gater to be a config of a mmbas gater, but got {gater}")
        built.connect(gates)
        if type_name(norm_cfg) in ("SyncBN", "SyncBatchNorm"):
            built = nn.SyncBatchNorm.convert_sync_batchnorm(built)
        self.gater = built

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of the stages ``out_indices`` for images ``x``, shape (N, 3, H, W)."""
        if self.gater is None:
            return self.run(x)
        with beginning(self.gater, x):
            return self.run(x)

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        """The network itself; see :meth:`forward`."""
        raise NotImplementedError

    @property
    def size_multiple(self) -> int:
        """Number that the height and width of images must be a multiple of; 1 unless tiled."""
        multiple, stride = 1, 1 if self.stem_pool is None else 4
        for block in self.blocks:
            for conv in block.convs:
                stride *= conv.stride[0]
            if block.gate is not None and block.seats.grid:
                multiple = math.lcm(multiple, stride * block.seats.grid)
        return multiple

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
    def blocks(self) -> list[GatedResidualBlock]:
        """The blocks of all stages in order."""
        children = (block for stage in self.stages for block in stage.children())
        return [block for block in children if isinstance(block, GatedResidualBlock)]

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
            if isinstance(module, nn.Conv2d)
            and name.split(".")[0] not in (*self.stage_names, "gater")
        }
        stages: Any = dict(zip(self.stage_names, self.stages, strict=True))
        costs = network_costs(stem, self.stem_pool, stages, size)
        if self.gater is not None:
            own = self.gater.module_macs(size)
            costs.module_macs.update({f"gater.{name}": macs for name, macs in own.items()})
        return costs

    def dense_module_macs(self, input_shape: Sequence[int]) -> dict[str, int]:
        """MACs with all gates open, by module; see :func:`mmbas.costs.count_macs`.

        Args:
            input_shape: Shape of the images, (N, 3, H, W).
        """
        num_images, _, height, width = (int(length) for length in input_shape)
        macs = self.costs((height, width)).module_macs
        return {name: num_images * cost for name, cost in macs.items()}
