"""The paper's gating module: one small network per block, one logit per channel or group of them.

B. E. Bejnordi, T. Blankevoort, M. Welling: Batch-Shaping for Learning Conditional Channel Gated
Networks, ICLR 2020, https://arxiv.org/abs/1907.06627
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from mmbas.gates.sampled_gate import SampledGate
from mmbas.registry import MODELS

# Open in training too: the noise of binary concrete gates stays below 17 in float32.
ALWAYS_OPEN_LOGIT = 80.0


@MODELS.register_module()
class ChannelGate(SampledGate):
    """Global average pool -> Linear(C, hidden) -> BN -> ReLU -> Linear(hidden, G) = logits.

    With ``group=k`` the last layer has one output for k neighbouring channels, which open and close
    together. Outward there is still one gate for each channel, so that all that multiplies, counts
    or skips channels is as ever; only the losses ask for one value per decision.

    Training samples binary concrete gates, evaluation opens a gate where its logit is > 0.
    The gate network runs in float32 even under autocast: it costs next to nothing, and
    decisions near 0 should not depend on the precision of the convolutions.

    Args:
        in_channels: Channels C of the block's input.
        num_gates: Number of gates, G.
        hidden_channels: Neurons of the hidden layer.
        temperature: Temperature of the binary concrete relaxation, > 0.
        sampler: Config of another sampler of training gates, ``dict(type='mmbas.HardStep')``; None
            is binary concrete.
        init_open_prob: Expected open probability at the start, in (0, 1); sets the last bias.
        init_weight_std: Standard deviation of the last layer's first weights; None keeps PyTorch's
            own initialisation.
        norm: False leaves out the normalisation; the first layer then has a bias.
        always_open: Gates that are open for every image. The gate network does not compute them:
            its last layer has outputs for the others only.
        group: Channels per decision; the gates that are not always open are a multiple of it.

    Attributes:
        decided: The gates that the last layer decides, ``group`` for each output in their order.

    Example:
        >>> import torch
        >>> from mmbas.gates import ChannelGate
        >>> gate = ChannelGate(64, 8, init_open_prob=0.9).eval()
        >>> output = gate(torch.randn(2, 64, 16, 16))
        >>> output.gates.shape, output.probs.shape
        (torch.Size([2, 8]), torch.Size([2, 8]))
        >>> gate.module_macs((16, 16))
        {'fc1': 1024, 'fc2': 128}

    Source:
        Bejnordi et al., ICLR 2020, section 4.1.
    """

    _outputs: Tensor
    _first_gates: Tensor

    def __init__(
        self,
        in_channels: int,
        num_gates: int,
        *,
        hidden_channels: int = 16,
        temperature: float = 2 / 3,
        sampler: dict[str, Any] | None = None,
        init_open_prob: float = 0.5,
        init_weight_std: float | None = None,
        norm: bool = True,
        always_open: Sequence[int] = (),
        group: int = 1,
    ) -> None:
        super().__init__(num_gates, sampler, temperature=temperature)
        if not 0 < init_open_prob < 1:
            raise ValueError(f"expected init_open_prob in (0, 1), but got {init_open_prob}")
        if hidden_channels < 1:
            raise ValueError(f"expected hidden_channels >= 1, but got {hidden_channels}")
        self.decided = _other_gates(always_open, num_gates)
        self.init_open_prob = init_open_prob
        self.init_weight_std = init_weight_std
        self.fc1 = nn.Linear(in_channels, hidden_channels, bias=not norm)
        self.norm = nn.BatchNorm1d(hidden_channels) if norm else nn.Identity()
        if group < 1 or len(self.decided) % group:
            raise ValueError(
                f"expected group >= 1 that divides the {len(self.decided)} gates that are not "
                f"always open, but got {group}"
            )
        self.group = group
        num_outputs = len(self.decided) // group
        self.fc2 = nn.Linear(hidden_channels, num_outputs)
        # For each gate its output; one constant output stands for all that are always open.
        outputs = torch.full((num_gates,), num_outputs)
        outputs[self.decided] = torch.arange(num_outputs).repeat_interleave(group)
        self.register_buffer("_outputs", outputs, persistent=False)
        firsts = [*self.decided[::group], *sorted(always_open)[:1]]
        self.register_buffer("_first_gates", torch.tensor(firsts), persistent=False)
        self.init_weights()

    def init_weights(self) -> None:
        """PyTorch's own initialisation, and what the arguments that begin with init ask for."""
        layers: list[Any] = [self.fc1, self.norm, self.fc2]
        for layer in layers:
            if not isinstance(layer, nn.Identity):
                layer.reset_parameters()
        if self.init_weight_std is not None:
            nn.init.normal_(self.fc2.weight, std=self.init_weight_std)
        nn.init.constant_(self.fc2.bias, math.log(self.init_open_prob / (1 - self.init_open_prob)))

    def compute_logits(self, x: Tensor) -> Tensor:
        """See :meth:`Gate.compute_logits`.

        Raises:
            ValueError: If a batch of one image, whose statistics are void, is trained on.
        """
        self._check_batch(x)
        # torch (2.1, and 2.15) knows no autocast for meta tensors, which hold shapes alone.
        device = "cpu" if x.device.type == "meta" else x.device.type
        with torch.autocast(device, enabled=False):
            pooled = average_pool(x, (2, 3)).to(weight_dtype(self.fc1))
            logits: Tensor = self.fc2(F.relu(self.norm(self.fc1(pooled))))
            if self.fc2.out_features < self.num_gates:
                # One constant column stands for all gates that are always open.
                logits = F.pad(logits, (0, 1), value=ALWAYS_OPEN_LOGIT)[:, self._outputs]
        return logits

    def sample(self, logits: Tensor) -> Tensor:
        """See :meth:`Gate.sample`."""
        if self.group == 1:
            return super().sample(logits)
        return super().sample(logits[:, self._first_gates])[:, self._outputs]

    def logit_biases(self) -> list[nn.Parameter]:
        """See :meth:`Gate.logit_biases`."""
        return [self.fc2.bias]

    @property
    def temperature(self) -> Tensor | None:
        """Temperature of the sampler; None for one without."""
        return self.sampler.settings.get("temperature")

    @property
    def decisions(self) -> list[int] | None:
        """See :attr:`Gate.decisions`."""
        return None if self.group == 1 else self.decided[:: self.group]

    def output_of(self, number: int) -> int:
        """Output of the last layer that decides a gate of :attr:`decided`."""
        return self.decided.index(number) // self.group

    def last_layer(self) -> tuple[Tensor, Tensor]:
        """Weights, shape (G, hidden), and biases, shape (G,), of one row for each gate."""
        weight = F.pad(self.fc2.weight.detach(), (0, 0, 0, 1))
        bias = F.pad(self.fc2.bias.detach(), (0, 1), value=ALWAYS_OPEN_LOGIT)
        return weight[self._outputs], bias[self._outputs]

    @property
    def min_batch_size(self) -> int:
        """2 where batch statistics come from the images of one process, else 1."""
        synced = isinstance(self.norm, nn.SyncBatchNorm) and dist.is_initialized()
        shared = synced and dist.get_world_size() > 1
        return 2 if self._has_batch_statistics and not shared else 1

    @property
    def _has_batch_statistics(self) -> bool:
        return self.norm.training and not isinstance(self.norm, nn.Identity)

    def _check_batch(self, x: Tensor) -> None:
        if self._has_batch_statistics and len(x) < self.min_batch_size:
            raise ValueError(
                "expected at least 2 images per batch in training, since the gates use batch "
                f"normalisation, but got {len(x)}; raise batch_size, set drop_last=True if it is "
                "the last batch of an epoch, or train several processes with "
                "norm_cfg=dict(type='SyncBN')"
            )

    def extra_repr(self) -> str:
        """Arguments for ``print(model)``."""
        always_open = self.num_gates - len(self.decided)
        return f"num_gates={self.num_gates}, always_open={always_open}, group={self.group}"


def average_pool(x: Tensor, dims: tuple[int, int]) -> Tensor:
    """Mean over the positions of feature maps, summed in float32 (or float64).

    Half precision would overflow: its largest number is 65504.

    Args:
        x: Feature maps of any floating-point type.
        dims: Dimensions of the height and the width.

    Returns:
        The mean without these dimensions, in float32; float64 for float64.
    """
    # Sum and scale: the gradient of mean() would write a whole feature map.
    dtype = torch.promote_types(x.dtype, torch.float32)
    return x.sum(dim=dims, dtype=dtype) / (x.shape[dims[0]] * x.shape[dims[1]])


def _other_gates(always_open: Sequence[int], num_gates: int) -> list[int]:
    if not all(0 <= gate < num_gates for gate in always_open):
        raise ValueError(f"expected always_open from 0 to {num_gates - 1}, but got {always_open}")
    others = sorted(set(range(num_gates)) - set(always_open))
    if not others:
        raise ValueError(
            f"expected a gate that is not always open, but got {num_gates} that are; leave the "
            "gate out with gate=None"
        )
    return others


def weight_dtype(layer: Any) -> torch.dtype:
    """Dtype that a layer of a gate computes in; float32 where its weights are quantised."""
    weight = layer.weight  # a method there
    return weight.dtype if isinstance(weight, Tensor) else torch.float32
