"""Normalisation is folded where it takes a convolution's output, and only there."""

import pytest
import torch
from torch import nn

from mmbas.backbones import GatedResNetCifar
from mmbas.gates import named_gates
from mmbas.measure.plain_network import folded_plain, plain_twin


def batch_norm(channels):
    norm = nn.BatchNorm2d(channels).requires_grad_(False)
    for name, (low, high) in dict(weight=(0.5, 2), bias=(-1, 1), running_mean=(-1, 1)).items():
        nn.init.uniform_(getattr(norm, name), low, high)
    return norm


class TwoReaders(nn.Module):
    """Somebody else reads the convolution too."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), batch_norm(4)

    def forward(self, images):
        maps = self.conv(images)
        return self.norm(maps) + maps


NETWORKS = {
    "in order": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), batch_norm(4), nn.ReLU()), 0),
    "activation first": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), batch_norm(4)), 1),
    "normalisation first": (lambda: nn.Sequential(batch_norm(3), nn.Conv2d(3, 4, 3)), 1),
    "two readers": (TwoReaders, 1),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_output_stays(name):
    torch.manual_seed(0)
    build, norms_left = NETWORKS[name]
    network, images = build().eval(), torch.randn(2, 3, 9, 9)
    folded = folded_plain(network, images)
    torch.testing.assert_close(folded(images), network(images))
    assert sum(isinstance(each, nn.BatchNorm2d) for each in folded.modules()) == norms_left


def test_a_twin_has_no_gates_and_is_folded_whole():
    torch.manual_seed(0)
    gated = GatedResNetCifar(8).eval()
    plain = plain_twin(gated)
    assert named_gates(gated)
    assert not named_gates(plain)
    folded = folded_plain(plain, torch.randn(1, 3, 32, 32))
    assert not any(isinstance(each, nn.BatchNorm2d) for each in folded.modules())
