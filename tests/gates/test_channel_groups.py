"""Neighbouring channels that one decision opens: every path sees the same gates, losses see one."""

import copy

import pytest
import torch

from mmbas.backbones import GatedResNet, GatedResNetCifar
from mmbas.compress.reduction import reduce_model
from mmbas.costs import count_macs
from mmbas.gates import ChannelGate, GateOutput, named_gates, record_gate_outputs
from mmbas.losses import BatchShapingLoss, GateL0Loss, TargetMACsLoss, macs_fraction
from mmbas.sliced import accelerate

GROUPS = [2, 4, 8]


def cifar(group, **arguments):
    return GatedResNetCifar(20, gate=dict(type="mmbas.ChannelGate", group=group), **arguments)


def bottlenecks(group, **arguments):
    gate = dict(type="mmbas.ChannelGate", group=group)
    return GatedResNet(50, num_stages=1, out_indices=(0,), gate=gate, **arguments)


def trained(network):
    """With statistics of norm layers and gates that differ from image to image."""
    torch.manual_seed(0)
    for gate in named_gates(network).values():
        gate.fc2.weight.data.normal_(0, 1)
        gate.fc2.bias.data.normal_(0, 0.5)
    with torch.no_grad():
        for _ in range(5):
            network.train()(torch.randn(16, 3, 32, 32))
    return network.eval()


def recorded(network, images):
    with torch.no_grad(), record_gate_outputs(network) as records:
        (out,) = network(images)
    return out, [output for (output,) in records.values()]


@pytest.mark.parametrize("group", GROUPS)
def test_channels_of_a_group_open_together(group):
    torch.manual_seed(0)
    gate = ChannelGate(6, 16, group=group)
    assert gate.fc2.out_features == gate.num_decisions == 16 // group
    assert gate.num_gates == 16
    for output in (gate(torch.randn(50, 6, 4, 4)), gate.eval()(torch.randn(50, 6, 4, 4))):
        assert output.logits.shape == output.gates.shape == (50, 16)
        groups = output.gates.view(50, -1, group)
        assert torch.equal(groups, groups[..., :1].expand_as(groups))
        assert 0 < output.gates.mean() < 1
        assert torch.equal(output.decision_logits, output.logits[:, ::group])


@pytest.mark.parametrize("always_open", [[0], [15], [0, 1, 2, 3]])
@pytest.mark.parametrize("group", [1, 3])
def test_gates_that_are_always_open_keep_their_places(group, always_open):
    torch.manual_seed(0)
    gate = ChannelGate(6, 16, group=group, always_open=always_open)
    x = torch.randn(20, 6, 4, 4)
    others = [number for number in range(16) if number not in always_open]
    logits = gate.compute_logits(x)
    assert (logits[:, always_open] == 80).all()
    grouped = logits[:, others].view(20, -1, group)
    assert torch.equal(grouped, grouped[..., :1].expand_as(grouped))
    assert len(grouped[0, :, 0].unique()) == len(others) // group
    drawn = gate.sample(logits)
    assert drawn[:, always_open].all()
    assert 0 < drawn[:, others].mean() < 1
    weight, bias = gate.last_layer()
    hidden = torch.nn.functional.relu(gate.norm(gate.fc1(x.mean(dim=(2, 3)))))
    torch.testing.assert_close(hidden @ weight.t() + bias, logits)


def test_a_group_draws_one_noise():
    gate, single = ChannelGate(6, 16, group=4), ChannelGate(6, 4)
    logits = torch.randn(50, 4)
    torch.manual_seed(1)
    gates = gate.sample(logits.repeat_interleave(4, dim=1))
    torch.manual_seed(1)
    assert torch.equal(gates, single.sample(logits).repeat_interleave(4, dim=1))


def test_groups_of_one_are_the_papers_gates():
    torch.manual_seed(0)
    paper = ChannelGate(6, 16)
    grouped = ChannelGate(6, 16, group=1)
    grouped.load_state_dict(paper.state_dict())
    x = torch.randn(8, 6, 4, 4)
    torch.manual_seed(1)
    expected = paper(x)
    torch.manual_seed(1)
    output = grouped(x)
    assert torch.equal(output.gates, expected.gates)
    assert torch.equal(output.decision_logits, expected.logits)


@pytest.mark.parametrize("reduction", ["sum", "layer_mean", "mean"])
@pytest.mark.parametrize("kind", [BatchShapingLoss, GateL0Loss])
def test_losses_count_each_decision_once(kind, reduction):
    torch.manual_seed(0)
    logits = [torch.randn(20, n, requires_grad=True) for n in (4, 8)]
    loss = kind(loss_weight=0.5, reduction=reduction)
    single = loss([GateOutput(each, each) for each in logits])
    single_grads = torch.autograd.grad(single, logits)
    grouped = [each.repeat_interleave(4, dim=1) for each in logits]
    outputs = [GateOutput(each, each, (), range(0, each.shape[1], 4)) for each in grouped]
    together = loss(outputs)
    torch.testing.assert_close(together, single)
    for grad, expected in zip(torch.autograd.grad(together, logits), single_grads, strict=True):
        torch.testing.assert_close(grad, expected)


def test_the_queue_of_a_loss_has_a_place_for_each_decision():
    loss = BatchShapingLoss(queue_size=8)
    gate = ChannelGate(6, 16, group=4)
    loss.prepare(gate.num_decisions)
    loss([gate(torch.randn(5, 6, 4, 4))])
    loss([gate(torch.randn(5, 6, 4, 4))])
    assert all(value.shape[-1] == 4 for value in loss.state_dict().values() if value.ndim == 2)


def test_a_target_of_macs_reaches_the_decisions():
    torch.manual_seed(0)
    network = cifar(4).train()
    with count_macs(network) as count, record_gate_outputs(network) as records:
        network(torch.randn(8, 3, 32, 32))
    outputs = [output for (output,) in records.values()]
    fraction = macs_fraction(outputs, count.dense_macs(8))
    TargetMACsLoss(target=0.3)(fraction).backward()
    for gate in named_gates(network).values():
        assert gate.fc2.bias.grad.abs().min() > 0


@pytest.mark.parametrize("build", [cifar, bottlenecks])
def test_macs_are_those_of_the_open_channels(build):
    network = trained(build(4))
    images = torch.randn(3, 3, 32, 32)
    with count_macs(network) as count:
        _, outputs = recorded(network, images)
    saved = sum(
        conv.macs * (1 - output.gates[:, conv.inputs or slice(None)].mean(dim=1)).double()
        for output in outputs
        for conv in output.convs
        if (conv.inputs is None) != (conv.outputs is None)
    )
    if build is cifar:  # each of its convolutions has gates at one end
        torch.testing.assert_close(count.dense_macs(3) - count.macs(3), saved)
    gates = sum(gate.fc2.weight.numel() for gate in named_gates(network).values())
    linear = {name: macs for name, macs in count.module_macs.items() if name.endswith("fc2")}
    assert sum(linear.values()) == 3 * gates  # a fourth of what the paper's gates cost


@pytest.mark.parametrize("path", ["torch", "native"])
@pytest.mark.parametrize("build", [cifar, bottlenecks])
def test_execution_that_skips_channels_is_that_of_the_masked_network(build, path):
    network = trained(build(4))
    images = torch.randn(4, 3, 32, 32)
    expected, gates = recorded(network, images)
    try:
        fast = accelerate(copy.deepcopy(network), path=path)
    except ValueError:
        assert path == "native"  # no compiler, or another kind of CPU
        pytest.skip("no native kernels here")
    out, fast_gates = recorded(fast, images)
    for one, other in zip(fast_gates, gates, strict=True):
        assert torch.equal(one.gates, other.gates)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("build", [cifar, bottlenecks])
def test_a_reduced_network_keeps_whole_groups(build):
    network = trained(build(4))
    for gate in named_gates(network).values():  # first group never open, second always
        gate.fc2.weight.data[:2] = 0
        gate.fc2.bias.data[:2] = torch.tensor([-5.0, 5.0])
    images = torch.randn(16, 3, 32, 32)
    expected, gates = recorded(network, images)
    rates = {
        name: output.gates.double().mean(dim=0)
        for name, output in zip(named_gates(network), gates, strict=True)
    }
    reduction = reduce_model(network, rates)
    small = build(4, block_widths=reduction.block_widths)
    small.load_state_dict(reduction.state_dict)
    out, small_gates = recorded(small.eval(), images)
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)
    assert sum(gate.shape[1] for gate in (o.gates for o in small_gates)) < sum(
        map(len, rates.values())
    )
    # What it decides while it goes on training is decided by groups too.
    torch.manual_seed(0)
    with record_gate_outputs(small) as records:
        small.train()(images)
    for name, gate in named_gates(small).items():
        (output,) = records[name]
        groups = output.gates[:, gate.decided].view(16, -1, 4)
        assert torch.equal(groups, groups[..., :1].expand_as(groups))


@pytest.mark.parametrize("group", [0, 3, 32])
def test_groups_that_do_not_fit_are_refused(group):
    with pytest.raises(ValueError, match=f"divides the 16 gates .* but got {group}"):
        ChannelGate(6, 16, group=group)
