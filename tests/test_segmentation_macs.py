"""MACs of whole PSPNets: mmengine's counter at full size, and physically sliced networks."""

import copy
from dataclasses import replace

import helpers
import pytest
import torch

pytest.importorskip("mmseg")

from costs.test_mac_count import (
    analyzed_macs,
    gate_network_macs,
    physically_sliced,
    random_logits,
)
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmbas.costs import count_macs
from mmbas.costs.closed_costs import closed_costs
from mmbas.gates import ChannelGate, force_gate_logits

SIZES = [(512, 1024), (713, 713)]


@pytest.fixture(scope="module")
def models():
    """Plain and gated PSPNet-R50-D8 of the Cityscapes experiments."""
    torch.manual_seed(0)
    return {kind: build(f"pspnet_r50_{kind}cityscapes.py") for kind in ("", "bas_")}


def build(name):
    config = Config.fromfile(helpers.CONFIGS / name).model
    config.pop("auxiliary_head")  # it only trains
    with DefaultScope.overwrite_default_scope("mmseg"):
        return MODELS.build(config).eval()


def counted_without_computing(model, size):
    """What the counter sees of one image; tensors of the device ``meta`` have a shape only."""
    shapes = copy.deepcopy(model).to("meta")
    with torch.no_grad(), count_macs(shapes) as count:
        shapes(torch.empty(1, 3, *size, device="meta"))
    return count


@pytest.mark.parametrize("size", SIZES)
def test_plain_pspnet_equals_flop_analyzer(models, size):
    # The analyzer also counts normalisation, pooling and resizing, which are no MACs; bfloat16
    # only makes its forward pass faster.
    model = copy.deepcopy(models[""]).bfloat16()
    with torch.no_grad():
        expected = analyzed_macs(model, torch.zeros(1, 3, *size, dtype=torch.bfloat16))
    count = counted_without_computing(models[""], size)

    assert count.dense_macs(1) == expected
    assert count.macs(1).tolist() == [expected]


def test_plain_pspnet_costs_what_the_hosts_table_says(models):
    # MMSegmentation: PSPNet-R50-D8 has 178 G at 512x512.
    macs = counted_without_computing(models[""], (512, 512)).dense_macs(1)
    assert macs == pytest.approx(178.5e9, rel=0.005)


@pytest.mark.parametrize("size", SIZES)
def test_gated_pspnet_equals_its_slices_at_full_size(models, size, monkeypatch):
    # Autocast, which the gate networks switch off, does not know shapes without values.
    monkeypatch.setattr(
        ChannelGate, "compute_logits", lambda gate, x: x.new_zeros(len(x), gate.num_gates)
    )
    plain, gated = models[""], models["bas_"]
    logits = random_logits(gated, 1)
    count = counted_without_computing(gated, size)
    outputs = [
        replace(output, gates=(logits[name] > 0).float())
        for name, (output,) in count.gate_outputs.items()
    ]
    gate_networks = sum(macs for name, macs in count.module_macs.items() if ".gate." in name)
    dense = count.dense_macs(1) - gate_networks
    sliced = counted_without_computing(physically_sliced(gated, logits), size).dense_macs(1)

    assert dense == counted_without_computing(plain, size).dense_macs(1)
    assert dense - closed_costs(outputs)[0, 0].item() == sliced < 0.9 * dense


def test_gated_pspnet_equals_flop_analyzer_of_its_slices_image_by_image(models):
    torch.manual_seed(0)
    model = models["bas_"]
    x = torch.randn(2, 3, 49, 65)
    logits = random_logits(model, 2)
    with torch.no_grad(), force_gate_logits(model, logits), count_macs(model) as count:
        outputs = model(x)
    macs = count.macs(2)

    assert macs[0] != macs[1]
    for i in range(2):
        sliced = physically_sliced(model, {name: row[i : i + 1] for name, row in logits.items()})
        image = x[i : i + 1]
        with torch.no_grad():
            assert macs[i] == analyzed_macs(sliced, image) + gate_network_macs(model)
            # The slices really are the same function.
            torch.testing.assert_close(sliced(image), outputs[i : i + 1], rtol=1e-3, atol=1e-3)
