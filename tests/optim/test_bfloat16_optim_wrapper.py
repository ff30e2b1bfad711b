"""bfloat16 where it saves time, float32 where digits count; the update is the optimiser's own."""

import pytest
import torch
from torch import nn

from mmbas.optim import BFloat16OptimWrapper
from mmbas.registry import OPTIM_WRAPPERS


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))


@pytest.fixture
def images():
    torch.manual_seed(1)
    return torch.randn(5, 3, 8, 8)


def wrap(net, **arguments):
    return BFloat16OptimWrapper(torch.optim.SGD(net.parameters(), lr=0.1), **arguments)


def test_convolutions_and_linear_layers_compute_in_bfloat16(net, images):
    wrapper = wrap(net)
    with wrapper.optim_context(net):
        assert net(images).dtype == torch.bfloat16
        assert net[0](images).dtype == torch.bfloat16
    assert net(images).dtype == torch.float32  # not outside


def test_weights_gradients_and_update_are_float32(net, images):
    wrapper = wrap(net)
    before = [p.detach().clone() for p in net.parameters()]
    with wrapper.optim_context(net):
        loss = net(images).float().square().mean()
    wrapper.backward(loss)
    grads = [p.grad.clone() for p in net.parameters()]
    wrapper.step()
    for parameter, old, grad in zip(net.parameters(), before, grads, strict=True):
        assert parameter.dtype == grad.dtype == torch.float32
        assert grad.abs().max() > 0
        # Nothing was scaled.
        torch.testing.assert_close(parameter, old - 0.1 * grad, rtol=1e-6, atol=1e-8)


def test_gradients_are_those_of_float32_but_for_eight_bits(net, images):
    net(images).square().mean().backward()
    expected = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    wrapper = wrap(net)
    with wrapper.optim_context(net):
        loss = net(images).float().square().mean()
    wrapper.backward(loss)
    for parameter, grad in zip(net.parameters(), expected, strict=True):
        assert not torch.equal(parameter.grad, grad)
        torch.testing.assert_close(parameter.grad, grad, rtol=0.02, atol=0.02 * grad.abs().max())


def test_accumulation_is_the_parents(net, images):
    wrapper = wrap(net, accumulative_counts=2)
    wrapper.initialize_count_status(net, 0, 4)
    before = net[3].weight.detach().clone()
    for step in range(2):
        with wrapper.optim_context(net):
            loss = net(images).float().square().mean()
        wrapper.update_params(loss)
        assert torch.equal(net[3].weight, before) == (step == 0)


def test_built_by_name(net):
    config = dict(type="mmbas.BFloat16OptimWrapper", optimizer=torch.optim.SGD(net.parameters(), 1))
    assert isinstance(OPTIM_WRAPPERS.build(config), BFloat16OptimWrapper)
