"""Costs and rules of the gates of SkipNet, GaterNet and DGNet, written out."""

import pytest
import torch
from rival_methods import network
from torch.nn import functional as F

from mmbas.backbones import GatedResNet, GatedResNetCifar
from mmbas.blocks import GatedBasicBlock
from mmbas.blocks.gate_seats import tile_mask
from mmbas.costs import count_macs
from mmbas.gates import ConvGate, DualGate, force_gate_logits, record_gate_outputs

NORM = dict(type="BN", requires_grad=True)


@pytest.mark.parametrize(("kind", "share"), [("I", 5 / 32), ("II", 1 / 8)])
def test_the_convolutions_of_a_skipnet_gate_cost_their_share_of_a_block(kind, share):
    block = 2 * 9 * 16 * 16 * 32 * 32
    macs = ConvGate(16, 1, kind=kind).module_macs((32, 32))
    assert sum(macs.values()) == share * block + 16  # and the linear layer
    assert ConvGate(4, 1, kind=kind)(torch.randn(2, 4, 1, 1)).logits.shape == (2, 1)
    with pytest.raises(ValueError, match="expected kind"):
        ConvGate(4, 1, kind="III")


def test_macs_of_skipnet_are_those_of_the_blocks_that_run():
    # Blocks 1 and 2 of a ResNet-8 of 4 base channels on 8x8 images have gates; option-A shortcuts.
    model = network("skipnet").eval()
    block1, block2 = 16 * 9 * (4 * 8 + 8 * 8), 4 * 9 * (8 * 16 + 16 * 16)
    logits = {
        "layer2.0.gate": torch.tensor([[1.0], [1.0], [-1.0]]),
        "layer3.0.gate": torch.tensor([[1.0], [-1.0], [-1.0]]),
    }
    with torch.no_grad(), force_gate_logits(model, logits), count_macs(model) as count:
        model(torch.randn(3, 3, 8, 8))
    saved = [0, block2, block1 + block2]
    assert (count.dense_macs(3) - count.macs(3)).tolist() == saved


def test_macs_of_dgnet_are_tiles_times_channels():
    model = network("dgnet").eval()
    torch.manual_seed(0)
    logits = {
        f"layer{i + 1}.0.gate": torch.randn(5, tiles + channels)
        for i, (tiles, channels) in enumerate([(16, 4), (4, 8), (1, 16)])
    }
    with torch.no_grad(), force_gate_logits(model, logits), count_macs(model) as count:
        model(torch.randn(5, 3, 8, 8))
    saved = torch.zeros(5, dtype=torch.float64)
    unused = torch.zeros(5, dtype=torch.float64)
    shapes = [(64, 4, 4, 16), (16, 4, 8, 4), (4, 8, 16, 1)]  # positions, in, out, tiles
    for (positions, n_in, n_out, tiles), values in zip(shapes, logits.values(), strict=True):
        is_open = (values > 0).double()
        s, c = is_open[:, :tiles].mean(dim=1), is_open[:, tiles:].mean(dim=1)
        weights = 9 * n_out * (n_in + n_out)
        saved += positions * weights * (1 - s * c)  # conv1 and conv2: channels c, positions s
        unused += weights * (1 - c)  # a tile that is open reads all weights of open channels
    costs = count.image_costs(5)
    torch.testing.assert_close(costs.dense_macs - costs.macs, saved)
    torch.testing.assert_close(costs.dense_params - costs.params, unused)


def test_tiles_mask_the_branch_and_in_evaluation_the_inner_maps():
    torch.manual_seed(0)
    gate = dict(type="mmbas.DualGate")
    block = GatedBasicBlock(
        4, 6, 4, gate=gate, gate_positions="tiles", gate_grid=2, norm_cfg=NORM
    ).eval()
    x = torch.randn(3, 4, 8, 8)
    logits = torch.randn(3, 10)
    gates = (logits > 0).float()
    tiles = gates[:, :4].view(-1, 1, 2, 2).repeat_interleave(4, 2).repeat_interleave(4, 3)
    assert torch.equal(tile_mask(gates[:, :4], 2, (8, 8)), tiles)
    channels = gates[:, 4:, None, None]
    inner = F.relu(block.bn1(block.conv1(x))) * channels
    with force_gate_logits(block, {"gate": logits}):
        masked = block(x)
    expected = F.relu(x + tiles * block.bn2(block.conv2(inner * tiles)))
    torch.testing.assert_close(masked, expected)
    block.train()
    for norm in block.norms:
        norm.eval()
    with force_gate_logits(block, {"gate": 100 * (2 * gates - 1)}):
        unmasked_inside = block(x)
    expected = F.relu(x + tiles * block.bn2(block.conv2(inner)))
    torch.testing.assert_close(unmasked_inside, expected)


def test_tiles_need_images_that_they_fill():
    model = network("dgnet")
    assert model.size_multiple == 4
    with pytest.raises(ValueError, match="gate_grid=4 divides"):
        model(torch.randn(2, 3, 10, 10))
    with pytest.raises(ValueError, match="gate_grid of 3 stages"):
        GatedResNetCifar(
            8, gate_positions="tiles", gate_grid=(8, 8), gate=dict(type="mmbas.DualGate")
        )
    imagenet = dict(
        gate_positions="tiles", gate_grid=(7, 7, 7, 7), gate=dict(type="mmbas.DualGate")
    )
    with torch.device("meta"):
        assert GatedResNet(18, **imagenet).size_multiple == 224
    with pytest.raises(ValueError, match="gates of 2 x 2 tiles and more"):
        DualGate(4, 4, grid=2)


def test_the_gater_of_the_image_decides_for_every_output_channel():
    torch.manual_seed(0)
    model = network("gaternet").eval()
    x = torch.randn(4, 3, 8, 8)
    with torch.no_grad(), record_gate_outputs(model) as records:
        model(x)
        together = model.gater.begin(x)
    assert torch.equal(torch.cat([output.logits for (output,) in records.values()], 1), together)
    assert together.shape == (4, 4 + 8 + 16)
    macs = model.costs((8, 8)).module_macs
    plain = GatedResNetCifar(8, base_channels=4, gate=None).costs((8, 8)).module_macs
    gater = sum(value for name, value in macs.items() if name.startswith("gater."))
    assert gater == sum(plain.values()) + 16 * 4 + 4 * 28


def test_gates_of_the_released_gaternets():
    for depth, count in ((20, 336), (56, 1008)):
        with torch.device("meta"):
            model = GatedResNetCifar(
                depth,
                gate_positions="out",
                gate=dict(type="mmbas.GivenGate"),
                gater=dict(type="mmbas.ImageGater"),
            )
        assert model.gater.fc2.out_features == count


def test_soft_gates_scale_by_their_probability():
    model = network("sgad-style").eval()
    with torch.no_grad(), record_gate_outputs(model) as records:
        model(torch.randn(6, 3, 8, 8))
    for (output,) in records.values():
        expected = output.logits.sigmoid() * (output.logits > 0)
        torch.testing.assert_close(output.multiplier, expected)
