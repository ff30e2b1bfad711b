"""The option ``block_widths`` of both networks."""

import pytest
import torch

from mmbas.backbones import GatedResNet, GatedResNetCifar
from mmbas.gates import named_gates


def basic(channels, **arguments):
    return GatedResNetCifar(20, block_widths=[dict(channels=channels, **arguments)] * 9)


def bottleneck(channels, *, gate_positions="both", **arguments):
    return GatedResNet(
        50,
        num_stages=1,
        out_indices=(0,),
        gate_positions=gate_positions,
        block_widths=[dict(channels=channels, **arguments)] * 3,
    )


@pytest.mark.parametrize(
    ("reduced", "standard"),
    [
        (basic(7, always_open=2), GatedResNetCifar(20)),
        (bottleneck((7, 9), always_open=(0, 2)), bottleneck(64)),
    ],
)
def test_keys_and_outputs_are_the_standard_networks(reduced, standard):
    assert reduced.state_dict().keys() == standard.state_dict().keys()
    x = torch.randn(2, 3, 32, 32)
    assert reduced(x)[0].shape == standard(x)[0].shape


def test_widths_reach_the_blocks():
    channels = [16, 3, 4, 5, 6, 7, 8, 9, 10]
    network = GatedResNetCifar(20, block_widths=[dict(channels=c) for c in channels])
    assert [gate.num_gates for gate in named_gates(network).values()] == channels
    block = bottleneck((7, 9)).layer1[1]
    assert [conv.out_channels for conv in block.convs] == [7, 9, 256]
    assert block.gate.num_gates == 16


def test_none_is_the_standard_network():
    for network, gates in ((basic(16), 9 * 16), (GatedResNetCifar(20), 3 * (16 + 32 + 64))):
        assert sum(gate.num_gates for gate in named_gates(network).values()) == gates


def test_one_entry_per_block_of_the_built_stages():
    with pytest.raises(ValueError, match="each of 3 blocks, but got 16"):
        GatedResNet(50, num_stages=1, out_indices=(0,), block_widths=[dict(channels=8)] * 16)
    with pytest.raises(ValueError, match="each of 9 blocks, but got 1"):
        GatedResNetCifar(20, block_widths=[dict(channels=8)])


def test_checkpoint_of_other_widths_is_refused():
    with pytest.raises(ValueError, match=r"another shape, e\.g\. .*block_widths of the config"):
        basic(7).load_state_dict(GatedResNetCifar(20).state_dict(), strict=False)
    with pytest.raises(ValueError, match=r"another shape, e\.g\. .*block_widths of the config"):
        GatedResNetCifar(20).load_state_dict(basic(7).state_dict(), strict=False)


def test_checkpoint_with_gates_in_other_blocks_is_refused():
    # Of the same widths, but the gates of the first block are folded.
    standard = [dict(channels=c) for c in (16, 32, 64) for _ in range(3)]
    folded = GatedResNetCifar(20, block_widths=[dict(channels=16, always_open=16), *standard[1:]])
    full = GatedResNetCifar(20)
    for network, other in ((full, folded), (folded, full)):
        with pytest.raises(ValueError, match=r"with gates in .*layer1\.1.*block_widths"):
            network.load_state_dict(other.state_dict(), strict=False)
    plain = GatedResNetCifar(20, gate=None)
    full.load_state_dict(plain.state_dict(), strict=False)
    plain.load_state_dict(full.state_dict(), strict=False)
