"""MAC counts: closed forms, mmengine's FlopAnalyzer, and physically sliced networks."""

import copy

import pytest
import torch
from mmengine.analysis import FlopAnalyzer
from torch import nn

from mmbas.backbones import GatedResNet, GatedResNetCifar
from mmbas.costs import count_macs, uncounted_modules
from mmbas.gates import force_gate_logits, named_gates, record_gate_outputs
from mmbas.gates.recorder import is_recording

GATE = dict(type="mmbas.ChannelGate")


def analyzed_macs(model, x):
    """Convolutions and linear layers by mmengine's own counter, for the whole batch."""
    counts = FlopAnalyzer(model, x).unsupported_ops_warnings(False).by_operator()
    return counts["conv"] + counts["linear"]


def random_logits(model, n):
    logits = {
        name: torch.where(torch.rand(n, gate.num_gates) < torch.rand(n, 1), 1.0, -1.0)
        for name, gate in named_gates(model).items()
    }
    for value in logits.values():
        value[:, ::16] = 1.0  # a convolution without channels cannot be built
    return logits


def gate_network_macs(model):
    return sum(16 * (gate.fc1.in_features + gate.num_gates) for gate in named_gates(model).values())


def keep(conv, *, outputs=None, inputs=None):
    """The convolution with only the given output and input channels."""
    weight = conv.weight.data
    weight = weight if outputs is None else weight[outputs]
    weight = weight if inputs is None else weight[:, inputs]
    sliced = nn.Conv2d(
        weight.shape[1],
        weight.shape[0],
        conv.kernel_size,
        conv.stride,
        conv.padding,
        conv.dilation,
        bias=False,
    )
    sliced.weight.data = weight
    return sliced


def keep_norm(norm, channels):
    sliced = nn.BatchNorm2d(len(channels))
    for name in ("weight", "bias", "running_mean", "running_var"):
        getattr(sliced, name).data = getattr(norm, name).data[channels]
    return sliced


def physically_sliced(model, logits):
    """A plain network with only the channels that are open for one image."""
    model = copy.deepcopy(model)
    for name in named_gates(model):
        block = model.get_submodule(name.removesuffix(".gate"))
        is_open = logits[name][0] > 0
        if hasattr(block, "conv3"):
            mid = block.conv1.out_channels
            everything = torch.ones(mid, dtype=torch.bool)
            first = is_open[block.gates_after_conv1] if block.gates_after_conv1 else everything
            second = is_open[block.gates_after_conv2] if block.gates_after_conv2 else everything
            first, second = first.nonzero()[:, 0], second.nonzero()[:, 0]
            block.conv3 = keep(block.conv3, inputs=second)
            block.conv2 = keep(block.conv2, outputs=second, inputs=first)
            block.bn2 = keep_norm(block.bn2, second)
        else:
            first = is_open.nonzero()[:, 0]
            block.conv2 = keep(block.conv2, inputs=first)
        block.conv1 = keep(block.conv1, outputs=first)
        block.bn1 = keep_norm(block.bn1, first)
        block.gate = None
    return model.eval()


@pytest.mark.parametrize(
    ("depth", "size", "billions"), [(18, 224, 1.81), (34, 224, 3.66), (50, 224, 4.09)]
)
def test_dense_macs_are_those_of_the_literature(depth, size, billions):
    # Table 1 of the paper, within the rounding of its figures.
    model = GatedResNet(depth, gate=None).eval()
    with count_macs(model) as count:
        model(torch.zeros(1, 3, size, size))
    classifier = model.feat_dim * 1000
    assert abs((count.dense_macs(1) + classifier) / 1e9 - billions) < 0.011


@pytest.mark.parametrize(("depth", "macs"), [(20, 40_550_400), (32, 68_861_952)])
def test_dense_macs_of_the_cifar_networks(depth, macs):
    # GIVEN a 3x3 stem and (depth - 2) / 6 blocks of two 3x3 convolutions in each of three stages
    blocks = (depth - 2) // 6
    stem = 3 * 16 * 9 * 32**2
    stage1 = 2 * blocks * 16 * 16 * 9 * 32**2
    stage2 = 16 * 32 * 9 * 16**2 + (2 * blocks - 1) * 32 * 32 * 9 * 16**2
    stage3 = 32 * 64 * 9 * 8**2 + (2 * blocks - 1) * 64 * 64 * 9 * 8**2
    assert stem + stage1 + stage2 + stage3 == macs
    model = GatedResNetCifar(depth, gate=None).eval()
    with count_macs(model) as count:
        model(torch.zeros(1, 3, 32, 32))
    assert count.dense_macs(1) == macs  # 40.6 M and 68.9 M in the literature


@pytest.mark.parametrize("gate", [None, GATE])
@pytest.mark.parametrize(("depth", "height", "width"), [(18, 64, 64), (50, 65, 97)])
def test_all_open_equals_flop_analyzer(depth, height, width, gate):
    model = GatedResNet(depth, gate=gate, dilations=(1, 1, 2, 4), strides=(1, 2, 1, 1)).eval()
    x = torch.randn(1, 3, height, width)
    with force_gate_logits(model, 1.0), count_macs(model) as count:
        model(x)
    assert count.dense_macs(1) == analyzed_macs(model, x)
    assert count.macs(1).tolist() == [count.dense_macs(1)]


@pytest.mark.parametrize(
    ("build", "size"),
    [
        (lambda: GatedResNetCifar(20), (32, 32)),
        (lambda: GatedResNetCifar(20, width_factor=3), (32, 31)),
        (lambda: GatedResNet(18), (65, 97)),
        (lambda: GatedResNet(50), (64, 64)),
        (lambda: GatedResNet(50, gate_positions="conv1"), (33, 64)),
        (lambda: GatedResNet(50, gate_positions="conv2", strides=(1, 2, 1, 1)), (64, 64)),
    ],
)
def test_random_gates_equal_flop_analyzer_of_the_sliced_network(build, size):
    torch.manual_seed(0)
    model = build().eval()
    x = torch.randn(3, 3, *size)
    logits = random_logits(model, 3)
    with force_gate_logits(model, logits), count_macs(model) as count, torch.no_grad():
        features = model(x)[-1]
    macs = count.macs(3)
    for i in range(3):
        one_image = {name: value[i : i + 1] for name, value in logits.items()}
        sliced = physically_sliced(model, one_image)
        expected = analyzed_macs(sliced, x[i : i + 1]) + gate_network_macs(model)
        assert round(macs[i].item()) == expected
        with torch.no_grad():  # the sliced network really is the same function
            torch.testing.assert_close(
                sliced(x[i : i + 1])[-1], features[i : i + 1], rtol=1e-3, atol=1e-4
            )


def test_all_closed_leaves_stem_shortcuts_and_gates():
    model = GatedResNetCifar(20).eval()
    with force_gate_logits(model, -1.0), count_macs(model) as count:
        model(torch.randn(2, 3, 32, 32))
    assert count.macs(2).tolist() == [3 * 16 * 9 * 32 * 32 + gate_network_macs(model)] * 2


def test_several_passes_add_up_and_sizes_count():
    model = GatedResNetCifar(20).eval()
    totals = []
    for sizes in ([(32, 32)], [(16, 24)], [(32, 32), (16, 24)]):
        with count_macs(model) as count:
            torch.manual_seed(0)
            for size in sizes:
                model(torch.ones(2, 3, *size))
        totals.append((count.dense_macs(2), count.macs(2)))
    assert totals[0][0] + totals[1][0] == totals[2][0]
    torch.testing.assert_close(totals[0][1] + totals[1][1], totals[2][1], rtol=1e-12, atol=0)


def test_transposed_and_grouped_convolutions():
    up = nn.ConvTranspose2d(4, 6, 2, stride=2)
    grouped = nn.Conv2d(6, 12, 3, groups=3, padding=1)
    model = nn.Sequential(up, grouped)
    x = torch.randn(2, 4, 5, 5)
    with count_macs(model) as count:
        model(x)
    assert count.module_macs == {"0": 2 * 25 * 4 * 6 * 4, "1": 2 * 100 * 12 * 2 * 9}


def test_uncounted_modules_are_named():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.LSTM(3, 3), nn.LayerNorm(3))
    assert uncounted_modules(model) == ["2 (LSTM)"]


class _First(nn.Module):
    """Eight channel means of the only feature map."""

    def forward(self, x):
        return x[0].mean(dim=(2, 3))[:, :8]


def test_nothing_grows_with_the_number_of_counts():
    model = nn.Sequential(GatedResNetCifar(20, out_indices=(2,)), _First(), nn.Linear(8, 3)).eval()
    for _ in range(3):
        with count_macs(model), record_gate_outputs(model):
            model(torch.randn(2, 3, 32, 32))
    hooks = {name: len(module._forward_hooks) for name, module in model.named_modules()}
    assert {name for name, number in hooks.items() if number} == {"0", "2"}
    assert max(hooks.values()) == 1
    assert not is_recording()


def test_counts_nest_and_copies_count_alone():
    model = nn.Sequential(GatedResNetCifar(8), _First(), nn.Linear(8, 3)).eval()
    x = torch.randn(2, 3, 32, 32)
    with count_macs(model) as outer:
        model(x)
        with count_macs(model) as inner, count_macs(model[2]) as head:
            model(x)
        copy.deepcopy(model)(x)
    assert dict(head.module_macs) == {"": inner.module_macs["2"]}
    assert outer.dense_macs(2) == 2 * inner.dense_macs(2)
    assert len(outer.gate_outputs["0.layer1.0.gate"]) == 2


def test_an_image_uses_a_channel_that_is_open_in_any_window():
    model, x = GatedResNetCifar(8).eval(), torch.randn(1, 3, 32, 32)
    first = torch.full((1, 16), -1.0)
    first[0, 3] = 1.0
    with force_gate_logits(model, -1.0), count_macs(model) as count:
        model(x)
        with force_gate_logits(model, {"layer1.0.gate": first}):
            model(x)
    # one of the block's 16 inner channels: 16 inputs and 16 outputs of 9 weights
    closed = 9 * (15 * 32 + 32 * (16 + 32) + 64 * (32 + 64))
    assert count.image_costs(1).params.tolist() == [count.dense_params() - closed]
    assert count.dense_params() == sum(p.numel() for p in model.parameters())


def test_modules_that_are_never_called_use_no_parameters():
    model = nn.ModuleDict({"head": nn.Linear(8, 3), "auxiliary": nn.Linear(8, 5)})
    with count_macs(model) as count:
        model["head"](torch.randn(2, 8))
    assert (count.dense_params(), count.image_costs(2).params.tolist()) == (27, [27.0, 27.0])


def test_gates_of_another_model_do_not_count():
    model, teacher = GatedResNetCifar(8).eval(), GatedResNetCifar(14).eval()
    x = torch.randn(2, 3, 32, 32)
    with count_macs(model) as alone:
        model(x)
    with count_macs(model) as count:
        teacher(x)
        model(x)
    assert torch.equal(count.macs(2), alone.macs(2))
    assert torch.equal(count.image_costs(2).gates, alone.image_costs(2).gates)


def test_an_empty_batch_costs_nothing():
    model = GatedResNetCifar(8).eval()
    with count_macs(model) as count:
        (features,) = model(torch.zeros(0, 3, 32, 32))
    costs = count.image_costs(0)
    assert features.shape == (0, 64, 8, 8)
    assert (costs.macs.tolist(), costs.dense_macs, costs.gates.shape) == ([], 0, (0, 16 + 32 + 64))
