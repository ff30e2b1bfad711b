"""Short trainings of the demonstrations: they learn, shape what they name, and repeat."""

import importlib.util
import runpy

import pytest
import torch
from source_tree import ROOT
from torch import nn

from mmbas.losses import NormalPrior, ShapingLoss, shaping_loss
from mmbas.measure.small_training import Schedule, accuracy, digits, train_classifier

pytest.importorskip("sklearn")


def trained(*, shaped, epochs=3):
    torch.manual_seed(0)
    train, test = digits(8)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.ReLU(), nn.Linear(32, 10))
    shaping = {}
    if shaped:
        loss = ShapingLoss(features=["1"], prior=NormalPrior(), loss_weight=10.0, max_channels=None)
        shaping = {"normal": loss.bind(model)}
    last = train_classifier(model, train, Schedule(epochs, 0.05, shift=0), shaping=shaping, seed=0)
    return model.eval(), test, last


def test_a_network_learns_digits_and_its_features_are_shaped():
    plain, test, _ = trained(shaped=False)
    shaped, _, last = trained(shaped=True)
    assert accuracy(plain, test) > 0.7
    assert accuracy(shaped, test) > 0.7
    off = [shaping_loss(m[:2](test.images), NormalPrior()).mean().item() for m in (plain, shaped)]
    assert off[1] < 0.5 * off[0]
    assert trained(shaped=True)[2] == last


@pytest.mark.parametrize("bits", [8, 3])
def test_weights_and_activations_are_quantised_by_torchao(bits):
    if importlib.util.find_spec("torchao") is None:
        pytest.skip("torchao is not installed: pip install -e '.[quantisation]'")
    script = runpy.run_path(str(ROOT / "benchmarks" / "shaping_quantisation.py"))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3)).eval()
    images = torch.randn(16, 3, 8, 8)
    graph = script["exported"](model, images)
    network = script["quantised"](graph, images, bits=bits, observer="minmax")
    with torch.no_grad():
        error = (network(images) - model(images)).std() / model(images).std()
    assert 0 < error < {8: 0.02, 3: 0.6}[bits]
    levels = {
        name: len(buffer.unique())
        for name, buffer in network.named_buffers()
        if buffer.dtype == torch.int8
    }
    assert levels
    assert max(levels.values()) <= 2**bits - 1
