"""Gates at other places than inner channels: accelerated, exported and refused."""

import pytest
import torch
from sliced.small_models import assert_close, images, randomize_norms
from torch import nn

from mmbas.backbones import GatedResNet, GatedResNetCifar
from mmbas.compress.reduction import reduce_model
from mmbas.costs import count_macs
from mmbas.gates import force_gate_logits, named_gates, record_gate_outputs
from mmbas.measure.contenders import Batch, realised_macs
from mmbas.sliced import accelerate
from mmbas.sliced.execution_path import why_not_native
from mmbas.sliced.folding import folded
from mmbas.sliced.native.native_backbone import why_unsupported
from mmbas.sliced.parity import run_with_gates
from mmbas.sliced.torch_path import torch_backbone

PLACEMENTS = ["branch", "block", "out", "all"]


def option_a(positions, **arguments):
    """Identity and option-A shortcuts."""
    return GatedResNetCifar(8, base_channels=4, gate_positions=positions, **arguments)


def projections(positions):
    """Identity and projection shortcuts, a pooled stem, all stages returned."""
    return GatedResNet(18, num_stages=2, out_indices=(0, 1), gate_positions=positions)


def bottlenecks(positions):
    return GatedResNet(50, num_stages=1, out_indices=(0,), gate_positions=positions)


def trained(make, *arguments):
    torch.manual_seed(0)
    return randomize_norms(make(*arguments))


def skip_without_kernels():
    if (reason := why_not_native(folded(trained(option_a, "both")))) is not None:
        pytest.skip(reason)


def random_logits(model, num_images):
    generator = torch.Generator().manual_seed(2)
    return {
        name: torch.randn(num_images, gate.num_gates, generator=generator)
        for name, gate in named_gates(model).items()
    }


CASES = [
    *((option_a, positions) for positions in PLACEMENTS),
    *((projections, positions) for positions in PLACEMENTS),
    *((bottlenecks, positions) for positions in [*PLACEMENTS, "shared"]),
]


@pytest.mark.parametrize(("make", "positions"), CASES)
@pytest.mark.parametrize("min_macs", [0, 10**12])  # channel by channel, and masked
@torch.no_grad()
def test_torchs_operators_give_the_masked_network(make, positions, min_macs, monkeypatch):
    monkeypatch.setattr(torch_backbone, "MIN_SLICED_MACS", min_macs)
    model = trained(make, positions)
    fast = accelerate(model, path="torch")
    for num_images in (1, 5):
        x = images(num_images, size=(16, 24))
        for logits in (1.0, -1.0, random_logits(model, num_images)):
            with force_gate_logits(model, logits), count_macs(model) as masked:
                expected = model(x)
            with force_gate_logits(fast, logits), count_macs(fast) as sliced:
                actual = fast(x)
            assert_close(actual, expected)
            assert torch.equal(masked.macs(num_images), sliced.macs(num_images))
        assert_close(fast(x), model(x))  # the gates decide from what came before


@torch.no_grad()
def test_a_skipped_block_computes_no_convolution(monkeypatch):
    model = trained(option_a, "branch")
    fast = accelerate(model, path="torch")
    calls = []
    for name in ("conv2d", "add_conv2d_relu_"):
        original = getattr(torch_backbone, name)

        def counted(*arguments, _original=original, **options):
            calls.append(1)
            return _original(*arguments, **options)

        monkeypatch.setattr(torch_backbone, name, counted)
    with force_gate_logits(fast, -1.0):
        fast(images(2))
    assert not calls
    with force_gate_logits(fast, 1.0):
        fast(images(2))
    assert len(calls) == 3 * 2


@pytest.mark.parametrize(
    ("positions", "min_macs", "skips"),
    [("branch", 10**12, True), ("both", 0, True), ("both", 10**12, False), ("all", 0, False)],
)
def test_counted_and_realised_macs_differ_where_closed_gates_are_masked(
    positions, min_macs, skips, monkeypatch
):
    monkeypatch.setattr(torch_backbone, "MIN_SLICED_MACS", min_macs)
    model = trained(projections, positions)
    fast = accelerate(model, path="torch")
    x = images(2, size=(16, 24))
    batch = Batch(x, random_logits(model, 2))
    with force_gate_logits(fast, batch.logits), count_macs(fast) as count:
        fast(x)
    counted, dense = float(count.macs(2).sum()), float(2 * count.dense_macs(2))
    assert counted < dense
    assert realised_macs(fast, [batch]) == pytest.approx(counted if skips else dense)


@pytest.mark.parametrize("make", [option_a, projections, bottlenecks])
@pytest.mark.parametrize("positions", ["branch", "block"])
@pytest.mark.parametrize("threads", [1, 3])
@torch.no_grad()
def test_the_native_kernels_skip_whole_blocks(make, positions, threads):
    model = trained(make, positions)
    skip_without_kernels()
    fast = accelerate(model, path="native")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for num_images in (1, 5):
            x = images(num_images, size=(17, 24))
            for logits in (1.0, -1.0, random_logits(model, num_images)):
                with force_gate_logits(model, logits):
                    expected = model(x)
                with force_gate_logits(fast, logits):
                    assert_close(fast(x), expected)
            # The next gate reads the right sums, also of blocks that were skipped.
            with record_gate_outputs(fast) as records:
                actual = fast(x)
            decided = {name: output.logits for name, (output,) in records.items()}
            expected, own_logits = run_with_gates(model, x, decided)
            assert_close(actual, expected)
            for name, gate in named_gates(model).items():
                torch.testing.assert_close(decided[name], own_logits[gate], rtol=1e-3, atol=1e-4)
    finally:
        torch.set_num_threads(before)


def test_bfloat16_kernels_do_not_skip_blocks_and_say_so():
    skip_without_kernels()
    model = trained(option_a, "branch")
    assert "switches blocks" in why_unsupported(folded(model), torch.bfloat16)
    assert accelerate(model, dtype="bfloat16").path == "native"


@pytest.mark.parametrize("positions", ["out", "all"])
def test_the_native_kernels_refuse_what_they_do_not_know(positions):
    model = trained(option_a, positions)
    reason = why_not_native(folded(model))
    assert "layer1.0.gate switches channels that are not its inner channels" in reason
    assert accelerate(model).path == "torch"
    with pytest.raises(ValueError, match="expected a network for the native path, but"):
        accelerate(model, path="native")


@pytest.mark.parametrize("positions", PLACEMENTS)
def test_static_reduction_refuses_other_gates_than_those_of_inner_channels(positions):
    model = trained(option_a, positions)
    rates = {name: torch.zeros(gate.num_gates) for name, gate in named_gates(model).items()}
    with pytest.raises(ValueError, match="not its inner channels"):
        reduce_model(model, rates)


def test_a_gate_with_too_few_decisions_is_refused():
    model = trained(option_a, "branch")
    model.layer1[0].gate.num_gates = 0
    with pytest.raises(ValueError, match="has not 1 gates for blocks"):
        accelerate(model, path="torch")
    model = trained(option_a, "out")
    model.layer2[0].conv2 = nn.Conv2d(8, 9, 3, padding=1)
    with pytest.raises(ValueError, match="8 gates for 9 channels"):
        accelerate(model, path="torch")
