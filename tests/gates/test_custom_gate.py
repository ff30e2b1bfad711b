"""A gate of another kind is a subclass and a name in a config; consumers need not know it."""

import torch
from torch import Tensor, nn

from mmbas.backbones import GatedResNetCifar
from mmbas.costs import count_macs
from mmbas.gates import Gate, record_gate_outputs
from mmbas.losses import GateL0Loss
from mmbas.registry import MODELS


@MODELS.register_module(force=True)
class ConstantGate(Gate):
    """Opens each channel with one learned probability, whatever the image."""

    def __init__(self, in_channels: int, num_gates: int) -> None:
        super().__init__(num_gates)
        self.logits = nn.Parameter(torch.empty(num_gates))
        self.init_weights()

    def init_weights(self) -> None:
        nn.init.constant_(self.logits, 1.0)

    def compute_logits(self, x: Tensor) -> Tensor:
        return self.logits.expand(len(x), -1)

    def sample(self, logits: Tensor) -> Tensor:
        return (logits + torch.randn_like(logits) > 0).float()


def test_losses_and_macs_read_any_gate():
    model = GatedResNetCifar(20, gate=dict(type="mmbas.ConstantGate"))
    model.layer1[0].gate.logits.data[:8] = -1.0  # half of the 16 channels
    with record_gate_outputs(model) as records:
        model(torch.randn(1, 3, 32, 32))
    loss = GateL0Loss(loss_weight=1.0)([output for (output,) in records.values()])
    loss.backward()
    assert model.layer1[0].gate.logits.grad.abs().sum() > 0
    with count_macs(model.eval()) as count, torch.no_grad():
        model(torch.randn(1, 3, 32, 32))
    saved = count.dense_macs(1) - count.macs(1).item()
    assert saved == 2 * 16 * 8 * 9 * 32 * 32


def test_gates_of_any_kind_synchronise_with_the_backbone():
    class Normed(ConstantGate):
        def __init__(self, in_channels: int, num_gates: int) -> None:
            super().__init__(in_channels, num_gates)
            self.norm = nn.BatchNorm1d(in_channels)

    MODELS.register_module(name="NormedGate", module=Normed, force=True)
    for norm, kind in (("BN", nn.BatchNorm1d), ("SyncBN", nn.SyncBatchNorm)):
        model = GatedResNetCifar(
            20, gate=dict(type="mmbas.NormedGate"), norm_cfg=dict(type=norm, requires_grad=True)
        )
        assert type(model.layer1[0].gate.norm) is kind
