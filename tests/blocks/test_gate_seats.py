"""Where gates stand: what each placement multiplies, and what it saves."""

import pytest
import torch
from torch.nn import functional as F

from mmbas.backbones import GatedResNet, GatedResNetCifar
from mmbas.blocks import BlockWidths, GatedBasicBlock, GatedBottleneck, gate_seats
from mmbas.costs import count_macs
from mmbas.gates import force_gate_logits, named_gates, record_gate_outputs

NORM = dict(type="BN", requires_grad=True)
GATE = dict(type="mmbas.ChannelGate")


def block_of(kind, positions, **arguments):
    torch.manual_seed(0)
    block = kind(8, 6, 8, gate=GATE, gate_positions=positions, norm_cfg=NORM, **arguments).eval()
    return block


def branch_of(block, x):
    """The residual branch with all gates open, by the block's layers."""
    *inner, last = zip(block.convs, block.norms, strict=True)
    for conv, norm in inner:
        x = F.relu(norm(conv(x)))
    return last[1](last[0](x))


@pytest.mark.parametrize("kind", [GatedBasicBlock, GatedBottleneck])
def test_one_gate_for_the_branch(kind):
    block = block_of(kind, "branch")
    x = torch.randn(2, 8, 5, 5)
    assert block.gate.num_gates == 1
    with force_gate_logits(block, -1.0):
        assert torch.equal(block(x), F.relu(x))
    with force_gate_logits(block, 1.0):
        torch.testing.assert_close(block(x), F.relu(x + branch_of(block, x)))
    with force_gate_logits(block, {"gate": torch.tensor([[1.0], [-1.0]])}):
        one_each = block(x)
    assert torch.equal(one_each[1], F.relu(x[1]))
    assert not torch.equal(one_each[0], F.relu(x[0]))


@pytest.mark.parametrize("kind", [GatedBasicBlock, GatedBottleneck])
def test_a_closed_block_is_its_shortcut_without_relu(kind):
    block = block_of(kind, "block", downsample=torch.nn.Conv2d(8, 8, 1))
    x = torch.randn(2, 8, 5, 5)
    shortcut = block.downsample(x)
    with force_gate_logits(block, -1.0):
        assert torch.equal(block(x), shortcut)
    assert (shortcut < 0).any()
    with force_gate_logits(block, 1.0):
        torch.testing.assert_close(block(x), F.relu(shortcut + branch_of(block, x)))


def test_gates_at_the_output_channels_of_the_branch():
    block = block_of(GatedBasicBlock, "out")
    x = torch.randn(2, 8, 5, 5)
    logits = torch.randn(2, 8)
    with force_gate_logits(block, {"gate": logits}):
        out = block(x)
    expected = F.relu(x + branch_of(block, x) * (logits > 0)[:, :, None, None])
    torch.testing.assert_close(out, expected)


def test_shared_gates_stand_after_both_convolutions():
    block = block_of(GatedBottleneck, "shared")
    x = torch.randn(2, 8, 5, 5)
    logits = torch.randn(2, 6)
    mask = (logits > 0)[:, :, None, None]
    inner = F.relu(block.bn1(block.conv1(x))) * mask
    inner = F.relu(block.bn2(block.conv2(inner))) * mask
    with force_gate_logits(block, {"gate": logits}):
        torch.testing.assert_close(block(x), F.relu(x + block.bn3(block.conv3(inner))))


@pytest.mark.parametrize(
    ("positions", "widths", "seats"),
    [
        ("both", (6,), [slice(0, 6), None]),
        ("out", (6,), [None, slice(0, 8)]),
        ("all", (6,), [slice(0, 6), slice(6, 14)]),
        ("all", (6, 5), [slice(0, 6), slice(6, 11), slice(11, 19)]),
        ("conv2", (6, 5), [None, slice(0, 5), None]),
        ("shared", (6, 6), [slice(0, 6), slice(0, 6), None]),
        ("branch", (6, 6), [None, None, None]),
    ],
)
def test_the_table_of_placements(positions, widths, seats):
    found = gate_seats(positions, BlockWidths(widths, (0,) * len(widths)), 8)
    assert list(found.outputs) == seats
    assert found.are_inner == (positions in ("both", "conv2"))


def test_placements_that_a_block_cannot_have():
    widths = BlockWidths((6, 5), (0, 0))
    for positions, message in [
        ("shared", "of one width"),
        ("tiles", "gate_grid"),
        ("everywhere", "expected gate_positions in"),
    ]:
        with pytest.raises(ValueError, match=message):
            gate_seats(positions, widths, 8)
    with pytest.raises(ValueError, match="gate_grid"):
        gate_seats("both", widths, 8, grid=4)
    with pytest.raises(ValueError, match="always open"):
        gate_seats("branch", BlockWidths((6, 5), (1, 0)), 8)


# MACs of conv1 and conv2 in the blocks of a CIFAR ResNet-8 on 8x8 images, 4 base channels.
CONV1 = [64 * 9 * 4 * 4, 16 * 9 * 4 * 8, 4 * 9 * 8 * 16]
CONV2 = [64 * 9 * 4 * 4, 16 * 9 * 8 * 8, 4 * 9 * 16 * 16]


@pytest.mark.parametrize("positions", ["branch", "block", "out", "all", "both"])
def test_macs_of_each_image_are_those_of_what_is_open(positions):
    torch.manual_seed(0)
    model = GatedResNetCifar(8, base_channels=4, gate_positions=positions).eval()
    gates = named_gates(model)
    logits = {name: torch.randn(5, gate.num_gates) for name, gate in gates.items()}
    with torch.no_grad(), force_gate_logits(model, logits), count_macs(model) as count:
        model(torch.randn(5, 3, 8, 8))
    costs = count.image_costs(5)
    saved = torch.zeros(5, dtype=torch.float64)
    for i, values in enumerate(logits.values()):
        is_open = (values > 0).double()
        channels = 4 * 2**i
        one = torch.ones(5, dtype=torch.float64)
        inner = is_open[:, :channels].mean(1) if positions in ("all", "both") else one
        out = is_open[:, -channels:].mean(1) if positions in ("all", "out") else one
        if positions in ("branch", "block"):
            inner, out = is_open[:, 0], one
            saved += CONV1[i] * (1 - inner) + CONV2[i] * (1 - inner)
            continue
        saved += CONV1[i] * (1 - inner) + CONV2[i] * (1 - inner * out)
    torch.testing.assert_close(costs.dense_macs - costs.macs, saved)
    recorded = sum(float(outputs[0].macs().sum()) for outputs in count.gate_outputs.values())
    dense = sum(outputs[0].dense_macs for outputs in count.gate_outputs.values())
    assert recorded == pytest.approx(5 * dense - float(saved.sum()))


def test_plain_blocks_have_no_gate():
    model = GatedResNetCifar(14, gate_positions="block", plain_blocks=(0, 3))
    assert list(named_gates(model)) == [
        "layer1.1.gate",
        "layer2.0.gate",
        "layer3.0.gate",
        "layer3.1.gate",
    ]
    assert list(named_gates(GatedResNet(18, plain_blocks=range(1, 8)))) == ["layer1.0.gate"]
    with pytest.raises(ValueError, match="plain_blocks from 0 to 5"):
        GatedResNetCifar(14, plain_blocks=(6,))
    with pytest.raises(ValueError, match="plain_blocks of all"):
        GatedResNetCifar(8, plain_blocks=range(3))


@pytest.mark.parametrize("positions", ["branch", "block", "out", "all", "shared"])
@pytest.mark.parametrize("with_cp", [False, True])
def test_every_parameter_gets_a_gradient(positions, with_cp):
    torch.manual_seed(0)
    depth = 50 if positions == "shared" else 18
    model = GatedResNet(
        depth, num_stages=1, out_indices=(0,), gate_positions=positions, with_cp=with_cp
    )
    images = torch.randn(8, 3, 16, 16)
    with record_gate_outputs(model) as records:
        model(images)[0].square().sum().backward()
    assert all(len(outputs) == 1 for outputs in records.values())
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_a_plain_checkpoint_initialises_any_placement():
    plain = GatedResNetCifar(8, gate=None)
    for positions in ("branch", "block", "out", "all"):
        gated = GatedResNetCifar(8, gate_positions=positions)
        gated.load_state_dict(plain.state_dict(), strict=False)
        assert torch.equal(gated.layer2[0].conv1.weight, plain.layer2[0].conv1.weight)
