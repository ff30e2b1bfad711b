"""Every method through every consumer: no consumer knows which one it is."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from rival_methods import METHODS, half_open, network
from sliced.small_models import assert_close, randomize_norms

from mmbas.backbones import GatedResNetCifar
from mmbas.costs import count_macs
from mmbas.gates import force_gate_logits, named_gates, record_gate_outputs
from mmbas.measure.plain_network import plain_twin
from mmbas.sliced import accelerate

SIZE = (16, 24)


def images(num_images, size=(8, 8)):
    return torch.randn(num_images, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


@pytest.fixture
def trained(method):
    torch.manual_seed(0)
    return half_open(randomize_norms(network(method)))


def test_a_training_step_reaches_every_parameter_in_half_precision_too(method):
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        model = half_open(network(method))
        model.init_weights()
        with (
            record_gate_outputs(model) as records,
            torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16),
        ):
            out = model(images(8))[0]
        outputs = [output for (output,) in records.values()]
        assert all(output.logits.dtype == torch.float32 for output in outputs)
        # A loss on the logits as well, as some gates have no gradient from the task.
        (out.float().square().sum() + sum(o.logits.square().sum() for o in outputs)).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name


def test_gates_are_open_where_logits_are_positive(trained):
    with torch.no_grad(), record_gate_outputs(trained) as records:
        trained(images(6))
    for name, (output,) in records.items():
        assert torch.equal(output.gates, (output.logits > 0).float()), name


@torch.no_grad()
def test_macs_of_each_image_are_those_of_its_gates_and_none_is_lost(trained):
    x = images(6)
    with count_macs(trained) as count:
        trained(x)
    expected = torch.full((6,), float(count.dense_macs(6)), dtype=torch.float64)
    for outputs in count.gate_outputs.values():
        (output,) = outputs
        expected -= output.dense_macs - output.macs()
    torch.testing.assert_close(count.image_costs(6).macs, expected)
    # The counter's hooks see the same layers as the closed form.
    plain = plain_twin(trained)
    with count_macs(plain) as dense:
        plain(x)
    gates = sum(m for name, m in count.module_macs.items() if "gate" in name) // 6
    assert count.dense_macs(6) == dense.dense_macs(6) + gates
    hooked = {}
    for name, module in trained.named_modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.register_forward_hook(_add_macs(hooked, name))
    trained(x[:1])
    assert count.dense_macs(6) == sum(hooked.values())


def _add_macs(macs, name):
    def hook(module, inputs, output):
        positions = output[0, 0].numel() if output.ndim == 4 else 1
        macs[name] = macs.get(name, 0) + positions * module.weight.numel()

    return hook


@torch.no_grad()
def test_torchs_operators_give_the_masked_network(trained):
    fast = accelerate(trained, path="torch")
    for num_images in (1, 5):
        x = images(num_images, SIZE)
        with record_gate_outputs(trained) as masked:
            expected = trained(x)
        with record_gate_outputs(fast) as sliced:
            assert_close(fast(x), expected)
        for name, (output,) in masked.items():
            assert torch.equal(output.gates, sliced[name][0].gates)
        with force_gate_logits(fast, -1.0), force_gate_logits(trained, -1.0):
            assert_close(fast(x), trained(x))


@torch.no_grad()
def test_auto_takes_a_path_that_covers_the_method(trained):
    x = images(2, SIZE)
    assert_close(accelerate(trained)(x), trained(x))


@torch.no_grad()
def test_copies_and_threads_decide_for_themselves(trained):
    batches = [images(2), images(3, SIZE)]
    expected = [trained(x)[0] for x in batches]
    copied = copy.deepcopy(trained)
    for parameter in trained.parameters():
        parameter.zero_()
    with ThreadPoolExecutor(2) as pool:
        futures = [pool.submit(copied, batches[i % 2]) for i in range(8)]
        for i, future in enumerate(futures):
            assert torch.equal(future.result()[0], expected[i % 2])


def test_a_plain_checkpoint_initialises_the_network_and_its_own_restores_it(method, trained):
    plain = GatedResNetCifar(8, base_channels=4, gate=None)
    fresh = network(method).eval()
    fresh.load_state_dict(plain.state_dict(), strict=False)
    assert torch.equal(fresh.layer3[0].conv2.weight, plain.layer3[0].conv2.weight)
    fresh.load_state_dict(trained.state_dict())
    with torch.no_grad():
        assert torch.equal(fresh(images(2))[0], trained(images(2))[0])


def test_gates_that_share_nothing_are_frozen_in_evaluation(method):
    model = network(method)
    for gate in named_gates(model).values():
        gate.requires_grad_(False)
    model.train()
    own = [gate for gate in named_gates(model).values() if list(gate.parameters())]
    assert not any(gate.training for gate in own)
