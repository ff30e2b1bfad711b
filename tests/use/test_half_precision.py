"""Models and images in half precision: sums over positions and gates must not overflow."""

import pytest
import torch
from mmpretrain.structures import DataSample

from mmbas.gates import ChannelGate, GateOutput, record_gate_outputs
from mmbas.models import GatedImageClassifier
from mmbas.models.gate_loss_mixin import check_finite
from mmbas.sliced import accelerate


def classifier():
    torch.manual_seed(0)
    return GatedImageClassifier(
        backbone=dict(type="mmbas.GatedResNetCifar", depth=8),
        neck=dict(type="GlobalAveragePooling"),
        head=dict(type="LinearClsHead", num_classes=10, in_channels=64),
    ).eval()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_pooling_of_a_gate_holds_large_maps(dtype):
    gate = ChannelGate(4, 6).eval()
    x = torch.full((1, 4, 256, 512), 0.5)  # sums to 65536, beyond float16
    expected = gate(x).logits
    logits = gate.to(dtype)(x.to(dtype)).logits
    torch.testing.assert_close(logits.float(), expected, rtol=2e-2, atol=2e-2)


def test_finite_logits_are_not_refused_for_their_sum():
    gate = ChannelGate(4, 256).half().eval()
    with torch.no_grad():
        gate.fc2.weight.zero_()
        gate.fc2.bias.fill_(4.0)
    with record_gate_outputs(gate) as records:
        gate(torch.rand(64, 4, 2, 2, dtype=torch.float16))  # 64 * 256 * 4 = 65536
    check_finite(records)


def test_logits_that_are_not_finite_are_named():
    gate = ChannelGate(4, 6).eval()
    with record_gate_outputs(torch.nn.ModuleDict({"one": gate})) as records:
        gate(torch.full((2, 4, 2, 2), torch.inf))
    with pytest.raises(FloatingPointError, match="NaN or infinite ones at one"):
        check_finite(records)


def test_sliced_equals_masked_in_float16():
    model = classifier().half()
    images = torch.rand(3, 3, 160, 200, generator=torch.Generator().manual_seed(2)).half() * 4
    results = []
    for network in (model, accelerate(model)):
        with torch.inference_mode():
            samples = network.predict(images, [DataSample() for _ in images])
        results.append(
            (
                torch.stack([sample.pred_score for sample in samples]),
                torch.stack([sample.gates for sample in samples]),
            )
        )
    assert results[0][0].isfinite().all()
    assert (results[0][1] == results[1][1]).float().mean() > 0.99  # but for ties
    torch.testing.assert_close(results[1][0], results[0][0], rtol=0, atol=2e-2)


def test_logits_whose_sum_overflows_are_finite():
    logits = torch.full((4, 3), 3e38)
    check_finite({"gate": [GateOutput(logits, torch.ones(4, 3))]})
    with pytest.raises(FloatingPointError, match="at gate"):
        check_finite(
            {"gate": [GateOutput(torch.tensor([[torch.inf, -torch.inf]]), logits[:1, :2])]}
        )
