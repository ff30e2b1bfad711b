"""Costs by stage and block, and the gate overhead that the paper states."""

import pytest
import torch

from mmbas.backbones import GatedResNet
from mmbas.costs import count_macs
from mmbas.costs.cost_table import cost_table
from mmbas.gates import force_gate_logits


class Classifier(torch.nn.Module):
    def __init__(self, depth, **arguments):
        super().__init__()
        self.backbone = GatedResNet(depth, **arguments)
        self.head = torch.nn.Linear(self.backbone.feat_dim, 1000)

    def forward(self, x):
        return self.head(self.backbone(x)[-1].mean(dim=(2, 3)))


def test_parts_add_up_to_the_total():
    model = Classifier(50)
    *parts, total = cost_table(model, torch.zeros(1, 3, 64, 64), open_fraction=0.3)
    assert [part.name for part in parts] == ["stem", "layer1", "layer2", "layer3", "layer4", "head"]
    for field in ("params", "dense_macs", "gate_macs", "closed_macs", "macs", "open_params"):
        assert sum(getattr(part, field) for part in parts) == getattr(total, field)
    assert total.params == sum(p.numel() for p in model.parameters())


def test_open_fraction_interpolates():
    model, x = Classifier(18), torch.zeros(1, 3, 64, 64)
    totals = {p: cost_table(model, x, open_fraction=p)[-1] for p in (0.0, 0.5, 1.0)}
    assert totals[0.0].macs == totals[0.0].closed_macs
    assert totals[1.0].macs == totals[1.0].dense_macs
    assert totals[1.0].open_params == totals[1.0].params
    assert 2 * totals[0.5].open_params == totals[0.0].open_params + totals[1.0].open_params
    # In basic blocks each convolution has gates on one side only: linear.
    assert 2 * totals[0.5].macs == totals[0.0].macs + totals[1.0].macs


def test_bottleneck_expectation_is_that_of_independent_gates():
    torch.manual_seed(0)
    model, p = Classifier(50).eval(), 0.5
    expected = cost_table(model, torch.zeros(1, 3, 32, 32), open_fraction=p)[-1].macs
    n = 400
    logits = {
        name: (torch.rand(n, gate.num_gates) < p).float() * 2 - 1
        for name, gate in model.named_modules()
        if name.endswith(".gate")
    }
    with torch.no_grad(), force_gate_logits(model, logits), count_macs(model) as count:
        model(torch.zeros(n, 3, 32, 32))
    macs = count.macs(n)
    assert abs(macs.mean() - expected) < 4 * macs.std() / n**0.5


def test_parameters_of_half_open_gates_by_hand():
    # Both convolutions of a basic block are gated on one side: half of their weights are used.
    model, x = Classifier(18), torch.zeros(1, 3, 64, 64)
    block = cost_table(model, x, open_fraction=0.5, per_block=True)[1]
    assert (block.name, block.params - block.open_params) == ("layer1.0", 64 * 64 * 9)
    # A bottleneck, 'both': half of conv1 and conv3, a quarter of the 3x3 convolution.
    block = cost_table(Classifier(50), x, open_fraction=0.5, per_block=True)[1]
    assert block.name == "layer1.0"
    closed = 64 * 64 // 2 + 64 * 64 * 9 * 3 // 4 + 64 * 256 // 2
    assert block.params - block.open_params == closed


def test_gate_overhead_of_the_paper():
    # Section 4.1: 0.018 % to 0.087 % of a block, which counts the additions of the pooling:
    # first stage (64*56*56 + 2*64*16) / 231.2 M, last stage (512*7*7 + 2*512*16) / 231.2 M.
    blocks = {
        cost.name: cost
        for cost in cost_table(
            Classifier(34), torch.zeros(1, 3, 224, 224), count_pooling=True, per_block=True
        )
    }
    assert blocks["layer1.0"].gate_macs == 64 * 56 * 56 + 2 * 64 * 16
    assert f"{blocks['layer1.0'].gate_share:.4%}" == "0.0877%"
    assert f"{blocks['layer4.2'].gate_share:.4%}" == "0.0179%"


def test_by_our_definition_the_overhead_is_smaller():
    blocks = cost_table(Classifier(34), torch.zeros(1, 3, 224, 224), per_block=True)
    assert next(b for b in blocks if b.name == "layer1.0").gate_macs == 2 * 64 * 16


def test_plain_network_has_no_gate_macs():
    total = cost_table(Classifier(18, gate=None), torch.zeros(1, 3, 64, 64))[-1]
    assert total.gate_macs == 0
    assert total.closed_macs == total.dense_macs == total.macs


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"open_fraction in \[0, 1\]"):
        cost_table(Classifier(18), torch.zeros(1, 3, 64, 64), open_fraction=1.5)
    with pytest.raises(ValueError, match="expected one image, but got 2"):
        cost_table(Classifier(18), torch.zeros(2, 3, 64, 64))
