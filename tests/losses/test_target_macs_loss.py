"""Target-MACs loss: the fraction by hand, its gradient, and several processes."""

import math
import os
import subprocess
import sys

import pytest
import torch
import torch.distributed as dist
from helpers import end_worker
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmbas.gates import ChannelGate, GatedConvMACs, GateOutput, sample_binary_concrete
from mmbas.losses import TargetMACsLoss, macs_fraction
from mmbas.registry import MODELS

LOGIT_3_4 = math.log(3.0)  # sigmoid = 3/4, derivative 3/16


def two_layers(first, second):
    """Gated convolutions of 60 and of 20 MACs, with 2 gates and with 1."""
    first = torch.as_tensor(first, dtype=torch.float32)
    second = torch.as_tensor(second, dtype=torch.float32)
    return [
        GateOutput(first, (first > 0).float(), (GatedConvMACs(60, outputs=slice(None)),)),
        GateOutput(second, (second > 0).float(), (GatedConvMACs(20, inputs=slice(None)),)),
    ]


def test_fraction_by_hand():
    # Dense 100 = 60 + 20 + 20 ungated. Image 1: 30 + 20 + 20; image 2: 0 + 0 + 20.
    outputs = two_layers([[1.0, -1.0], [-1.0, -1.0]], [[1.0], [-1.0]])
    fraction = macs_fraction(outputs, 100)
    assert fraction.item() == pytest.approx((0.7 + 0.2) / 2)
    assert fraction.dtype == torch.float32


def test_loss_and_gradient_by_hand():
    first = torch.full((1, 2), LOGIT_3_4, requires_grad=True)
    second = torch.full((1, 1), -LOGIT_3_4, requires_grad=True)
    loss = TargetMACsLoss(target=0.5, loss_weight=10.0)
    loss.factor = 0.5
    value = loss(macs_fraction(two_layers_of(first, second), 100))
    value.backward()
    # fraction = (60 + 20) / 100; one gate of the first layer is 0.3 of the MACs, the other's 0.2
    assert value.item() == pytest.approx(5 * 0.3**2)
    slope = 5 * 2 * 0.3 * 3 / 16
    torch.testing.assert_close(first.grad, torch.full((1, 2), slope * 0.3))
    torch.testing.assert_close(second.grad, torch.full((1, 1), slope * 0.2))


def two_layers_of(first, second):
    return [
        GateOutput(first, torch.zeros_like(first), (GatedConvMACs(60, outputs=slice(None)),)),
        GateOutput(second, torch.zeros_like(second), (GatedConvMACs(20, inputs=slice(None)),)),
    ]


def test_drawn_gates_are_counted_if_asked_for():
    torch.manual_seed(0)
    logits = torch.full((2000, 1), -LOGIT_3_4, requires_grad=True)
    gates = sample_binary_concrete(logits)
    output = GateOutput(logits, gates, (GatedConvMACs(50, outputs=slice(None)),))
    # A quarter of the gates is drawn open; evaluation opens none.
    drawn = macs_fraction([output], 100, noise=True)
    assert drawn.item() == pytest.approx(0.5 + 0.5 * gates.mean().item())
    assert drawn.item() == pytest.approx(0.5 + 0.5 / 4, abs=0.02)
    assert macs_fraction([output], 100).item() == 0.5
    drawn.backward()
    assert (logits.grad > 0).all()


def test_large_networks_keep_their_digits():
    # 4 G MACs do not fit float32: a difference of 1 in 2^32 must not be lost in the sum.
    output = GateOutput(
        torch.ones(1, 1), torch.ones(1, 1), (GatedConvMACs(1, outputs=slice(0, 1)),)
    )
    assert macs_fraction([output], 2**32).item() == 1.0
    closed = GateOutput(-torch.ones(1, 1), torch.zeros(1, 1), output.convs)
    assert macs_fraction([closed], 2**20).item() == pytest.approx(1 - 2**-20, abs=1e-8)


@pytest.mark.parametrize("target", [0.3, 0.6, 0.9])
def test_a_gate_reaches_the_target(target):
    torch.manual_seed(0)
    gate = ChannelGate(8, 64, init_open_prob=0.9)
    convs = (GatedConvMACs(80, outputs=slice(None)),)
    loss = TargetMACsLoss(target=target)
    optimizer = torch.optim.SGD(gate.parameters(), lr=0.05, momentum=0.9)
    images = torch.randn(32, 8, 4, 4)
    fractions = []
    for _ in range(150):
        fraction = macs_fraction([gate(images, convs)], 100)
        optimizer.zero_grad()
        loss(fraction).backward()
        optimizer.step()
        fractions.append(fraction.item())
    assert abs(fractions[0] - target) > 0.05
    assert abs(sum(fractions[-20:]) / 20 - target) < 0.01
    gate.eval()
    assert macs_fraction([gate(images, convs)], 100).item() == pytest.approx(target, abs=0.02)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_float32_under_autocast(dtype):
    logits = torch.randn(4, 3, dtype=dtype, requires_grad=True)
    convs = (GatedConvMACs(30, outputs=slice(None)),)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        fraction = macs_fraction([GateOutput(logits, logits, convs)], 100)
        loss = TargetMACsLoss(target=0.3)(fraction)
    loss.backward()
    expected = 0.7 + 0.3 * (logits > 0).double().mean().item()
    assert loss.dtype == torch.float32
    assert fraction.item() == pytest.approx(expected, abs=1e-7)
    assert logits.grad.isfinite().all()


def test_built_from_config_with_defaults():
    loss = MODELS.build(dict(type="mmbas.TargetMACsLoss", target=0.6))
    assert (loss.loss_name, loss.loss_weight, loss.factor) == ("loss_target_macs", 100.0, 1.0)
    assert list(loss.state_dict()) == []
    assert "target=0.6" in repr(loss)


@pytest.mark.parametrize(
    "arguments", [dict(target=0.0), dict(target=1.0), dict(target=0.5, loss_weight=-1.0)]
)
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match="expected"):
        TargetMACsLoss(**arguments)


def test_bad_costs():
    with pytest.raises(ValueError, match="at least one gated layer"):
        macs_fraction([], 100)
    with pytest.raises(ValueError, match=r"at least the gated convolutions' 80.*but got 70"):
        macs_fraction(two_layers([[1.0, 1.0]], [[1.0]]), 70)


def test_compiled_model_is_not_compiled_again_for_every_factor():
    frames = []

    def backend(graph, example_inputs):
        frames.append(graph)
        return graph.forward

    loss = TargetMACsLoss(target=0.5)
    step = torch.compile(lambda x: loss(x.mean() * 2), backend=backend)
    first = step(torch.full((3,), 0.4))
    compiled = len(frames)
    for factor in (0.9, 0.8):
        loss.factor = factor
        torch.testing.assert_close(step(torch.full((3,), 0.4)), factor * first)
    assert len(frames) == compiled > 0


def gradient_of(net, images):
    """Loss and parameter gradient of one step; the logits are a linear map of the images."""
    logits = net(images)
    gates = (logits > 0).float()
    outputs = [GateOutput(logits, gates, (GatedConvMACs(60, outputs=slice(None)),))]
    loss = TargetMACsLoss(target=0.5)(macs_fraction(outputs, 100))
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in net.parameters()])


def linear_and_images():
    torch.manual_seed(3)
    return nn.Linear(5, 6), torch.randn(6, 5) + 0.5


def distributed_worker(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    net, images = linear_and_images()
    rows = slice(0, 4) if rank == 0 else slice(4, None)
    torch.save(gradient_of(DistributedDataParallel(net), images[rows]), f"{folder}/rank{rank}.pt")
    end_worker()


def test_two_processes_equal_one(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    workers = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(tmp_path)], env=environment)
        for rank in range(2)
    ]
    assert [worker.wait(timeout=600) for worker in workers] == [0, 0]
    value, gradient = gradient_of(*linear_and_images())
    assert gradient.abs().max() > 1e-2
    for rank in range(2):
        rank_value, rank_gradient = torch.load(tmp_path / f"rank{rank}.pt")
        assert rank_value == pytest.approx(value, abs=1e-6)
        torch.testing.assert_close(rank_gradient, gradient, rtol=0, atol=1e-6)


if __name__ == "__main__":
    distributed_worker(int(sys.argv[1]), sys.argv[2])
