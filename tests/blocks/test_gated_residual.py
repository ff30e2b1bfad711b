"""Where the gate stands, what it costs, and that checkpointing changes nothing."""

import pytest
import torch
from torch.nn import functional as F

from mmbas.blocks import GatedBasicBlock, GatedBottleneck
from mmbas.gates import record_gate_outputs

NORM = dict(type="BN", requires_grad=True)
GATE = dict(type="mmbas.ChannelGate")


def basic(**arguments):
    return GatedBasicBlock(8, 6, 8, gate=GATE, norm_cfg=NORM, **arguments)


def bottleneck(**arguments):
    return GatedBottleneck(8, 6, 8, gate=GATE, norm_cfg=NORM, **arguments)


def recorded(block, x):
    with record_gate_outputs(block) as records:
        out = block(x)
    return out, records["gate"][0].gates


def test_basic_block_is_equation_4():
    torch.manual_seed(0)
    block = basic()
    x = torch.randn(4, 8, 5, 5)
    out, gates = recorded(block, x)
    inner = gates[:, :, None, None] * F.relu(block.bn1(block.conv1(x)))
    expected = F.relu(block.bn2(block.conv2(inner)) + x)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    assert 0 < gates.mean() < 1


@pytest.mark.parametrize("gate_positions", ["both", "conv1", "conv2"])
def test_bottleneck_gates_its_inner_representations(gate_positions):
    torch.manual_seed(0)
    block = bottleneck(gate_positions=gate_positions)
    x = torch.randn(4, 8, 5, 5)
    out, gates = recorded(block, x)
    gates = gates[:, :, None, None]
    first = gates[:, :6] if gate_positions in ("both", "conv1") else 1
    second = gates[:, -6:] if gate_positions in ("both", "conv2") else 1
    inner = first * F.relu(block.bn1(block.conv1(x)))
    inner = second * F.relu(block.bn2(block.conv2(inner)))
    expected = F.relu(block.bn3(block.conv3(inner)) + x)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    assert gates.shape[1] == (12 if gate_positions == "both" else 6)


def test_closed_gate_gets_a_gradient():
    # Section 4: the gate comes after the ReLU, so a closed gate can open again.
    torch.manual_seed(0)
    block = basic()
    x = torch.randn(16, 8, 5, 5)
    with record_gate_outputs(block) as records:
        out = block(x)
    output = records["gate"][0]
    (grad,) = torch.autograd.grad(out.square().sum(), output.logits)
    closed = output.gates == 0
    assert closed.any()
    assert (grad[closed] != 0).float().mean() > 0.9


@pytest.mark.parametrize("make", [basic, bottleneck])
def test_checkpointing_changes_nothing(make):
    results = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        block = make(with_cp=with_cp)
        x = torch.randn(4, 8, 5, 5, requires_grad=True)
        with record_gate_outputs(block) as records:
            out = block(x)
        # A loss on the logits, too: their graph must survive the checkpoint.
        (out.sum() + records["gate"][0].logits.square().sum()).backward()
        grads = [p.grad for p in block.parameters()]
        assert len(records["gate"]) == 1
        results.append([out, x.grad, *grads])
    for without, with_checkpoint in zip(*results, strict=True):
        assert torch.equal(without, with_checkpoint)


def append_macs(macs):
    def hook(conv, inputs, output):
        macs.append(output[0, 0].numel() * conv.weight.numel())

    return hook


@pytest.mark.parametrize(
    ("stride", "dilation", "size"), [(1, 1, 7), (2, 1, 7), (2, 1, 8), (1, 2, 9), (1, 4, 5)]
)
def test_cost_of_the_gated_convolutions_is_that_of_their_real_outputs(stride, dilation, size):
    down = torch.nn.AvgPool2d(stride, ceil_mode=True)
    for block in (
        basic(stride=stride, dilation=dilation, downsample=down),
        bottleneck(stride=stride, dilation=dilation, downsample=down),
    ):
        expected = []
        for conv in block.children():
            if isinstance(conv, torch.nn.Conv2d):
                conv.register_forward_hook(append_macs(expected))
        x = torch.randn(2, 8, size, size)
        block(x)
        assert [conv.macs for conv in block.gated_convs((size, size))] == expected


def test_bottleneck_refuses_unknown_position():
    with pytest.raises(ValueError, match="expected gate_positions in .* but got 'conv3'"):
        bottleneck(gate_positions="conv3")


def test_autocast_keeps_the_maps_in_low_precision():
    block = basic()
    block.conv2.register_forward_pre_hook(lambda _, inputs: dtypes.append(inputs[0].dtype))
    dtypes = []
    with torch.autocast("cpu", dtype=torch.bfloat16):
        block(torch.randn(4, 8, 5, 5))
    assert dtypes == [torch.bfloat16]
