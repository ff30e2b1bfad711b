"""Blocks with widths of their own, and channels that need no gate."""

import pytest
import torch
from torch.nn import functional as F

from mmbas.blocks import BlockWidths, GatedBasicBlock, GatedBottleneck, widths_of_blocks
from mmbas.gates import record_gate_outputs

NORM = dict(type="BN", requires_grad=True)
GATE = dict(type="mmbas.ChannelGate")


def bottleneck(widths, **arguments):
    return GatedBottleneck(8, widths, 8, gate=GATE, norm_cfg=NORM, **arguments)


def test_a_number_stands_for_every_inner_representation():
    assert widths_of_blocks(None, [4, 8], num_inner=2) == [
        BlockWidths((4, 4), (0, 0)),
        BlockWidths((8, 8), (0, 0)),
    ]
    given = [dict(channels=3), dict(channels=[5, 6], always_open=(0, 2))]
    assert widths_of_blocks(given, [4, 8], num_inner=2) == [
        BlockWidths((3, 3), (0, 0)),
        BlockWidths((5, 6), (0, 2)),
    ]


@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ([dict(channels=3)], "expected block_widths for each of 2 blocks, but got 1"),
        ([dict(channels=3), dict(width=3)], r"expected block_widths\[1\] to be dict\(channels"),
        ([dict(channels=3), dict(channels=3, gate=1)], r"expected block_widths\[1\] to be dict"),
        ([dict(channels=(3,)), dict(channels=3)], r"expected 2 numbers .* in block_widths\[0\]"),
        ([dict(channels=0), dict(channels=3)], r"channels >= 1 .* in block_widths\[0\]"),
        ([dict(channels=3, always_open=4)] * 2, r"always_open from 0 to channels in block_widths"),
        ([dict(channels=3, always_open=-1)] * 2, r"always_open from 0 to channels"),
    ],
)
def test_bad_widths(widths, message):
    with pytest.raises(ValueError, match=message):
        widths_of_blocks(widths, [4, 8], num_inner=2)


def test_widths_of_another_kind_of_block():
    with pytest.raises(ValueError, match="widths of 1 inner representations, but got .3, 4."):
        GatedBasicBlock(8, BlockWidths((3, 4), (0, 0)), 8, gate=GATE, norm_cfg=NORM)


@pytest.mark.parametrize(
    ("gate_positions", "always_open", "conditional"),
    [
        ("both", [0, 1, 5, 6, 7], [2, 3, 4, 8]),
        ("conv1", [0, 1], [2, 3, 4]),
        ("conv2", [0, 1, 2], [3]),
    ],
)
def test_bottleneck_with_its_own_widths(gate_positions, always_open, conditional):
    torch.manual_seed(0)
    block = bottleneck(BlockWidths((5, 4), (2, 3)), gate_positions=gate_positions).eval()
    x = torch.randn(6, 8, 5, 5)
    with record_gate_outputs(block) as records:
        out = block(x)
    gates = records["gate"][0].gates
    assert gates.shape[1] == len(always_open) + len(conditional)
    assert block.gate.fc2.out_features == len(conditional)
    assert (gates[:, always_open] == 1).all()
    assert 0 < gates[:, conditional].mean() < 1
    gates = gates[:, :, None, None]
    first = gates[:, :5] if gate_positions != "conv2" else 1
    second = gates[:, -4:] if gate_positions != "conv1" else 1
    inner = first * F.relu(block.bn1(block.conv1(x)))
    inner = second * F.relu(block.bn2(block.conv2(inner)))
    expected = F.relu(block.bn3(block.conv3(inner)) + x)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("gate_positions", "always_open"), [("both", (5, 4)), ("conv1", (5, 0)), ("conv2", (0, 4))]
)
def test_block_whose_gates_are_all_open_has_none(gate_positions, always_open):
    block = bottleneck(BlockWidths((5, 4), always_open), gate_positions=gate_positions)
    assert block.gate is None
    assert not any("gate" in key for key in block.state_dict())
    assert block(torch.randn(2, 8, 5, 5)).shape == (2, 8, 5, 5)


def test_checkpointing_and_gradients_with_open_channels():
    torch.manual_seed(0)
    block = bottleneck(BlockWidths((5, 4), (2, 3)), with_cp=True)
    x = torch.randn(16, 8, 5, 5, requires_grad=True)
    with record_gate_outputs(block) as records:
        out = block(x)
    (out.square().sum() + records["gate"][0].logits.square().sum()).backward()
    for name, parameter in block.named_parameters():
        assert parameter.grad.abs().sum() > 0, name
