"""Statistics of norm layers in closed form, and what gathering them leaves as it was."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmbas.backbones import GatedResNetCifar
from mmbas.gates import named_gates, record_gate_outputs
from mmbas.hooks import norm_statistics, recalibrate_norms


class TwoNorms(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.BatchNorm2d(3)
        self.conv = nn.Conv2d(3, 5, 3)
        self.second = nn.BatchNorm2d(5)
        nn.init.uniform_(self.first.weight)

    def forward(self, x):
        return self.second(self.conv(self.first(x)))


def batches(*sizes):
    torch.manual_seed(0)
    return [3 + 2 * torch.randn(size, 3, 6, 6) for size in sizes]


def moments(x):
    """Mean and unbiased variance of each channel."""
    values = x.double().transpose(0, 1).flatten(1)
    return values.mean(dim=1).float(), values.var(dim=1).float()


def test_statistics_are_those_of_all_values_whatever_the_batches():
    net = TwoNorms()
    images = batches(5, 8, 2)  # batches of other sizes count by their values
    assert recalibrate_norms(net, images, net) == 2

    mean, variance = moments(torch.cat(images))
    torch.testing.assert_close(net.first.running_mean, mean)
    torch.testing.assert_close(net.first.running_var, variance)
    # What the second layer sees comes from batches normalised with their own statistics.
    first = net.first
    seen = torch.cat(
        [net.conv(F.batch_norm(x, None, None, first.weight, first.bias, True)) for x in images]
    )
    mean, variance = moments(seen.detach())
    torch.testing.assert_close(net.second.running_mean, mean)
    torch.testing.assert_close(net.second.running_var, variance)


def test_one_batch_gives_what_training_on_it_gives():
    torch.manual_seed(1)
    net = TwoNorms()
    trained = copy.deepcopy(net).train()
    for module in trained.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    (images,) = batches(16)
    trained(images)
    recalibrate_norms(net, [images], net)
    for name in ("first", "second"):
        for key in ("running_mean", "running_var"):
            torch.testing.assert_close(
                getattr(getattr(net, name), key), getattr(getattr(trained, name), key)
            )


def test_means_far_from_zero_keep_their_variance():
    net = nn.Sequential(nn.BatchNorm2d(3))
    images = [1000 + x for x in batches(4, 4)]
    recalibrate_norms(net, images, net)
    torch.testing.assert_close(net[0].running_var, moments(torch.cat(images))[1], rtol=1e-4, atol=0)


def test_several_processes_put_their_values_together(monkeypatch):
    first, second = batches(8, 4)
    other: list[torch.Tensor] = []
    monkeypatch.setattr(norm_statistics, "all_reduce", lambda sums: other.append(sums.clone()))
    net = nn.Sequential(nn.BatchNorm2d(3))
    recalibrate_norms(net, [second], net)
    monkeypatch.setattr(norm_statistics, "all_reduce", lambda sums: sums.add_(other.pop()))
    recalibrate_norms(net, [first], net)
    mean, variance = moments(torch.cat([first, second]))
    torch.testing.assert_close(net[0].running_mean, mean)
    torch.testing.assert_close(net[0].running_var, variance)


@pytest.fixture
def gated():
    torch.manual_seed(2)
    net = GatedResNetCifar(20, gate=dict(type="mmbas.ChannelGate"))
    net.init_weights()
    net.train()
    for _ in range(3):
        net(torch.randn(8, 3, 8, 8))
    return net


def test_gates_decide_as_in_evaluation(gated):
    image = torch.randn(8, 3, 8, 8)
    state = torch.get_rng_state()
    with record_gate_outputs(gated) as records:
        recalibrate_norms(gated, [image, image], gated)
    assert torch.equal(torch.get_rng_state(), state)  # no noise is drawn
    for outputs in records.values():
        first, second = outputs
        assert torch.equal(first.gates, (first.logits > 0).float())
        assert torch.equal(first.logits, second.logits)


def test_all_but_statistics_is_as_before(gated):
    gated.eval()
    gated.layer1.train()
    gated.bn1.momentum = None
    modes = [module.training for module in gated.modules()]
    before = {key: value.clone() for key, value in gated.state_dict().items()}
    recalibrate_norms(gated, [torch.randn(8, 3, 8, 8)], gated)

    assert [module.training for module in gated.modules()] == modes
    assert gated.bn1.momentum is None
    assert gated.bn1.track_running_stats
    changed = {key for key, value in gated.state_dict().items() if not before[key].equal(value)}
    norms = {
        f"{name}.{key}"
        for name, module in gated.named_modules()
        if isinstance(module, nn.BatchNorm2d)
        for key in ("running_mean", "running_var")
    }
    assert changed == norms  # of the gates' own norm layers nothing
    assert not [hook for module in gated.modules() for hook in module._forward_pre_hooks]


def test_layers_that_training_leaves_alone_are_left_alone():
    class Frozen(TwoNorms):
        def train(self, mode=True):
            super().train(mode)
            self.first.eval()
            return self

    net = Frozen()
    net.unused = nn.BatchNorm2d(4)
    assert recalibrate_norms(net, batches(4), net) == 1
    assert torch.equal(net.first.running_mean, torch.zeros(3))
    assert torch.equal(net.unused.running_var, torch.ones(4))
    assert not torch.equal(net.second.running_mean, torch.zeros(5))


def test_an_error_leaves_the_network_as_it_was(gated):
    before = {key: value.clone() for key, value in gated.state_dict().items()}
    with pytest.raises(RuntimeError):
        recalibrate_norms(gated, [torch.randn(2, 3, 8, 8), torch.randn(2, 4, 8, 8)], gated)
    assert gated.training
    assert all(gate.norm.track_running_stats for gate in named_gates(gated).values())
    assert all(before[key].equal(value) for key, value in gated.state_dict().items())
