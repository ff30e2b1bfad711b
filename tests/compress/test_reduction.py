"""Reduced = masked where the removed channels are closed, and the sizes worked out by hand."""

import copy

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm

from mmbas.backbones import GatedResNet, GatedResNetCifar
from mmbas.compress.reduction import reduce_model
from mmbas.costs.mac_count import count_macs
from mmbas.gates import force_gate_logits, named_gates, record_gate_outputs
from mmbas.losses import BatchShapingLoss

CLOSED, OPEN, UNDECIDED = -1, 1, 0


def cifar(block_widths=None, **arguments):
    return GatedResNetCifar(20, block_widths=block_widths, **arguments)


def resnet50_stage(block_widths=None, *, gate_positions="both", **arguments):
    return GatedResNet(
        50,
        num_stages=1,
        out_indices=(0,),
        gate_positions=gate_positions,
        block_widths=block_widths,
        **arguments,
    )


def randomized(network, seed=0):
    """Norms as after training: nothing is 0 or 1, and gates differ from image to image."""
    torch.manual_seed(seed)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.3)
            module.momentum = None  # the running statistics are averages of all batches
    with torch.no_grad():
        network.train()(torch.randn(16, 3, 32, 32))
    return network.eval()


def decide(gate, decisions):
    """Close or open gates for every image, and leave the others to the gate network."""
    rows = [decisions[number] for number in gate.decided]
    for row, decision in enumerate(rows):
        if decision != UNDECIDED:
            gate.fc2.weight.data[row] = 0
            gate.fc2.bias.data[row] = 5.0 * decision


def random_decisions(network, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for gate in named_gates(network).values():
        decide(gate, torch.randint(-1, 2, (gate.num_gates,), generator=generator).tolist())


@torch.no_grad()
def run(network, images):
    """Output, and gates by name."""
    with record_gate_outputs(network) as records:
        (out,) = network(images)
    return out, {name: output.gates for name, (output,) in records.items()}


def assert_same(out, expected):
    """Within 1e-5 of the largest value."""
    atol = 1e-5 * expected.abs().max().item()
    torch.testing.assert_close(out, expected, rtol=0, atol=atol)


def reduced_network(build, network, images, **rates):
    open_rates = {name: gates.mean(dim=0) for name, gates in run(network, images)[1].items()}
    reduction = reduce_model(network, open_rates, **rates)
    smaller = build(reduction.block_widths)
    smaller.load_state_dict(reduction.state_dict, strict=True)
    return reduction, smaller.eval()


def builders():
    """Functions from ``block_widths`` to a network of each kind."""
    builds = [pytest.param(cifar, id="basic")]
    for positions in ("both", "conv1", "conv2"):

        def build(widths=None, *, positions=positions):
            return resnet50_stage(widths, gate_positions=positions)

        builds.append(pytest.param(build, id=positions))
    return builds


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("build", builders())
def test_lossless_on_the_calibration_images(build, seed):
    network = build()
    random_decisions(network, seed)
    randomized(network, seed)
    images = torch.randn(8, 3, 32, 32)
    before = copy.deepcopy(network.state_dict())
    reduction, smaller = reduced_network(build, network, images, min_rate=0)
    out, gates = run(network, images)
    reduced_out, _ = run(smaller, images)

    assert_same(reduced_out, out)
    assert 0 < reduction.num_removed < reduction.num_gates
    assert reduction.num_folded > 0
    assert reduction.has_gates
    assert any((gate.std(dim=0) > 0).float().mean() > 0.1 for gate in gates.values())
    assert sum(p.numel() for p in smaller.parameters()) < sum(
        p.numel() for p in network.parameters()
    )
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]), key


def test_basic_block_by_hand():
    network = randomized(cifar())
    decisions = [CLOSED, OPEN, UNDECIDED, OPEN, *[UNDECIDED] * 12]
    decide(network.layer1[0].gate, decisions)
    rates = {name: torch.full((g.num_gates,), 0.5) for name, g in named_gates(network).items()}
    rates["layer1.0.gate"] = (torch.tensor(decisions) + 1) / 2
    reduction = reduce_model(network, rates)
    assert reduction.block_widths[0] == dict(channels=(15,), always_open=(2,))
    assert reduction.block_widths[1] == dict(channels=(16,), always_open=(0,))
    assert (reduction.num_gates, reduction.num_removed, reduction.num_folded) == (336, 1, 2)
    order = [1, 3, 2, *range(4, 16)]
    block, state = network.layer1[0], reduction.state_dict
    assert torch.equal(state["layer1.0.conv1.weight"], block.conv1.weight[order])
    assert torch.equal(state["layer1.0.bn1.running_var"], block.bn1.running_var[order])
    assert torch.equal(state["layer1.0.conv2.weight"], block.conv2.weight[:, order])
    assert torch.equal(state["layer1.0.bn2.weight"], block.bn2.weight)
    assert torch.equal(state["layer1.0.gate.fc2.weight"], block.gate.fc2.weight[[2, *order[3:]]])


@pytest.mark.parametrize(
    ("min_rate", "max_rate", "channels", "always_open"),
    [(0, 1, 15, 1), (0.01, 1, 15, 1), (0.011, 1, 14, 1), (0.5, 0.99, 13, 2), (0.5, 0.5, 13, 13)],
)
def test_rates_are_bounds_that_count_as_conditional(min_rate, max_rate, channels, always_open):
    rates = {name: torch.ones(gate.num_gates) for name, gate in named_gates(cifar()).items()}
    rates["layer1.0.gate"] = torch.tensor(
        [0, 0.01, 0.49, 0.99, 1, *[0.5] * 11], dtype=torch.float64
    )
    widths = reduce_model(cifar(), rates, min_rate=min_rate, max_rate=max_rate).block_widths
    assert widths[0] == dict(channels=(channels,), always_open=(always_open,))


@pytest.mark.parametrize("build", builders())
@pytest.mark.parametrize("closed", ["first", "last", "all"])
def test_block_without_open_channels_keeps_its_constant(build, closed):
    network = randomized(build())
    gate = network.layer1[1].gate
    half = gate.num_gates // 2
    decisions = {
        "first": [CLOSED] * half + [UNDECIDED] * half,
        "last": [UNDECIDED] * half + [CLOSED] * half,
        "all": [CLOSED] * gate.num_gates,
    }[closed]
    decide(gate, decisions)
    images = torch.randn(4, 3, 32, 32)
    reduction, smaller = reduced_network(build, network, images, min_rate=0)
    assert_same(run(smaller, images)[0], run(network, images)[0])
    if closed == "all":
        assert smaller.layer1[1].gate is None
    if closed == "all" and len(smaller.layer1[1].convs) == 2:
        assert reduction.block_widths[1] == dict(channels=(1,), always_open=(1,))


def test_nothing_before_a_closed_representation_is_kept():
    network = randomized(resnet50_stage())
    decide(network.layer1[1].gate, [UNDECIDED] * 64 + [CLOSED] * 64)
    images = torch.randn(4, 3, 32, 32)
    reduction, _ = reduced_network(resnet50_stage, network, images, min_rate=0)
    assert reduction.block_widths[1] == dict(channels=(1, 1), always_open=(1, 1))
    assert reduction.num_removed >= 128


def test_static_network_has_no_gates_and_costs_what_the_gates_left():
    network = randomized(cifar())
    generator = torch.Generator().manual_seed(1)
    for gate in named_gates(network).values():
        decide(gate, (torch.randint(0, 2, (gate.num_gates,), generator=generator) * 2 - 1).tolist())
    images = torch.randn(2, 3, 32, 32)
    with count_macs(network) as count:
        out, _ = run(network, images)
    gate_macs = sum(macs for name, macs in count.module_macs.items() if ".gate." in name)
    reduction, smaller = reduced_network(cifar, network, images)
    with count_macs(smaller) as reduced_count:
        reduced_out, gates = run(smaller, images)
    assert_same(reduced_out, out)
    assert not reduction.has_gates
    assert gates == {}
    assert reduced_count.dense_macs(2) == count.macs(2)[0].item() - gate_macs / 2


def test_reduced_network_reduces_again():
    network = randomized(resnet50_stage())
    random_decisions(network, 1)
    images = torch.randn(8, 3, 32, 32)
    _, once = reduced_network(resnet50_stage, network, images, min_rate=0)
    decide(network.layer1[2].gate, [CLOSED] * 128)
    for gate in named_gates(once).values():
        decide(gate, [UNDECIDED, CLOSED] * (gate.num_gates // 2) + [CLOSED] * (gate.num_gates % 2))
    reduction, twice = reduced_network(resnet50_stage, once, images, min_rate=0)
    assert_same(run(twice, images)[0], run(once, images)[0])
    assert sum(p.numel() for p in twice.parameters()) < sum(p.numel() for p in once.parameters())
    assert reduction.num_folded > 0


def test_queue_of_a_gate_loss_starts_anew():
    """It holds logits of gates that are gone, and would refuse those that are left."""
    model = torch.nn.ModuleDict(dict(backbone=cifar(), loss=BatchShapingLoss(queue_size=4)))
    model["loss"].queue.push(torch.randn(4, 336))
    assert "loss.queue._extra_state" in model.state_dict()
    rates = {name: torch.rand(gate.num_gates) for name, gate in named_gates(model).items()}
    state = reduce_model(model, rates, min_rate=0.5).state_dict
    assert not any(key.startswith("loss.queue") for key in state)


def test_wrong_arguments():
    network = cifar()
    rates = {name: torch.ones(gate.num_gates) for name, gate in named_gates(network).items()}
    for bounds in (dict(min_rate=0.6, max_rate=0.5), dict(min_rate=-0.1), dict(max_rate=1.1)):
        with pytest.raises(ValueError, match="expected 0 <= min_rate <= max_rate <= 1"):
            reduce_model(network, rates, **bounds)
    with pytest.raises(ValueError, match=r"rates of 16 gates for layer1\.0\.gate, but got none"):
        reduce_model(network, {})
    with pytest.raises(ValueError, match=r"but got shape \(3,\)"):
        reduce_model(network, {**rates, "layer1.0.gate": torch.ones(3)})
    with pytest.raises(ValueError, match="expected a model with gates to reduce"):
        reduce_model(cifar(gate=None), {})


def test_networks_that_cannot_be_reduced():
    network = cifar(norm_cfg=dict(type="GN", num_groups=4))
    rates = {name: torch.ones(gate.num_gates) for name, gate in named_gates(network).items()}
    with pytest.raises(ValueError, match=r"batch normalisation in layer1\.0, but got GroupNorm"):
        reduce_model(network, rates)


def test_the_majority_of_the_gates_makes_a_static_network():
    """What a conditional network has to beat: the same channels for every image."""
    torch.manual_seed(0)
    backbone = GatedResNetCifar(8).eval()
    gates = named_gates(backbone)
    rates = {name: torch.rand(gate.num_gates) for name, gate in gates.items()}
    reduction = reduce_model(backbone, rates, min_rate=0.5, max_rate=0.5)
    assert not reduction.has_gates
    static = GatedResNetCifar(8, block_widths=reduction.block_widths).eval()
    static.load_state_dict(reduction.state_dict)
    x = torch.randn(3, 3, 32, 32)
    majority = {name: rate - 0.5 + 1e-9 for name, rate in rates.items()}
    with torch.no_grad(), force_gate_logits(backbone, majority):
        torch.testing.assert_close(static(x)[0], backbone(x)[0], rtol=1e-4, atol=1e-5)
