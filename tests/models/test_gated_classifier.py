"""The mixin over the hosts' models: losses in training, cost per image in prediction."""

import subprocess
import sys

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.structures import DataSample

from mmbas.backbones import GatedResNetCifar
from mmbas.gates import named_gates
from mmbas.models import GateLossMixin

LOSSES = dict(
    bas=dict(type="mmbas.BatchShapingLoss", loss_weight=0.75),
    l0=dict(type="mmbas.GateL0Loss", loss_weight=0.05),
)


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield


def classifier(gate_losses=LOSSES, **backbone):
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type="mmbas.GatedImageClassifier",
            backbone=dict(type="mmbas.GatedResNetCifar", depth=20, **backbone),
            neck=dict(type="GlobalAveragePooling"),
            head=dict(type="LinearClsHead", num_classes=10, in_channels=64),
            gate_losses=gate_losses,
        )
    )


def batch(n=8):
    return torch.randn(n, 3, 32, 32), [DataSample().set_gt_label(i % 10) for i in range(n)]


def test_gate_losses_join_the_hosts():
    model = classifier()
    losses = model.loss(*batch())
    assert set(losses) == {"loss_task", "loss_bas", "loss_gate_l0"}
    assert all(value.requires_grad for value in losses.values())
    # at the start the mean prob is near 1/2: nine layers, layer_mean, weight 0.05
    assert losses["loss_gate_l0"].item() == pytest.approx(9 * 0.5 * 0.05, rel=0.1)


def test_logged_loss_is_the_total():
    model = classifier()
    total, logged = model.parse_losses(model.loss(*batch()))
    parts = logged["loss_task"] + logged["loss_bas"] + logged["loss_gate_l0"]
    torch.testing.assert_close(total, parts)
    torch.testing.assert_close(logged["loss"], total)


def test_loss_equals_the_functions_on_the_same_logits():
    model = classifier(dict(l0=dict(type="mmbas.GateL0Loss", loss_weight=2.0, reduction="mean")))
    probs = []
    for gate in named_gates(model).values():
        gate.register_forward_hook(lambda _, __, output: probs.append(output.logits.sigmoid()))
    losses = model.loss(*batch())
    expected = 2.0 * torch.cat(probs, dim=1).mean()
    torch.testing.assert_close(losses["loss_gate_l0"], expected, rtol=1e-6, atol=0)


def test_none_drops_an_inherited_loss():
    assert list(classifier(dict(LOSSES, bas=None)).gate_losses) == ["l0"]


def test_gate_losses_add_nothing_to_the_state_dict():
    assert not any("gate_losses" in key for key in classifier().state_dict())


def test_nothing_with_a_graph_outlives_the_iteration():
    model = classifier()
    model.loss(*batch())
    assert set(model.last_gates) == set(named_gates(model))
    assert all(gates.dtype == torch.bool for gates in model.last_gates.values())
    assert all(gate._records is None for gate in named_gates(model).values())


def test_predictions_carry_the_cost_of_each_image():
    model = classifier().eval()
    inputs, samples = batch(5)
    predicted = model.predict(inputs, samples)
    for sample in predicted:
        assert sample.gates.shape == (3 * (16 + 32 + 64),)
        assert sample.open_fraction == pytest.approx(sample.gates.float().mean().item())
        assert 0 < sample.macs < sample.dense_macs
    # alone or in a batch, an image costs the same
    alone = model.predict(inputs[2:3], samples[2:3])[0]
    assert alone.macs == predicted[2].macs
    assert len({sample.macs for sample in predicted}) > 1


def test_plain_network_costs_its_dense_macs():
    sample = classifier(gate_losses=None, gate=None).eval().predict(*batch(2))[0]
    assert sample.macs == sample.dense_macs == 40_550_400 + 640
    assert sample.open_fraction == 1.0
    assert len(sample.gates) == 0


def test_two_gate_losses_of_one_kind_are_refused():
    with pytest.raises(ValueError, match="expected each gate loss once"):
        classifier(dict(first=LOSSES["l0"], second=LOSSES["l0"]))


def test_gate_losses_without_gates_are_refused():
    with pytest.raises(ValueError, match="expected a gated backbone for gate_losses"):
        classifier(gate=None)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_bad_logits_name_their_layer(value):
    model = classifier()
    torch.nn.init.constant_(model.backbone.layer2[1].gate.fc2.bias, value)
    message = r"finite gate logits.*backbone\.layer2\.1\.gate"
    with pytest.raises(FloatingPointError, match=message):
        model.loss(*batch())
    with pytest.raises(FloatingPointError, match=message):
        model.eval().predict(*batch())


def test_mixin_works_for_any_mmengine_model():
    class Regressor(BaseModel):
        def __init__(self, backbone):
            super().__init__()
            self.backbone = backbone

        def forward(self, inputs, data_samples=None, mode="tensor"):
            return self.loss(inputs, data_samples) if mode == "loss" else self.backbone(inputs)

        def loss(self, inputs, data_samples):
            return dict(loss_fit=self.backbone(inputs)[0].square().mean())

    class GatedRegressor(GateLossMixin, Regressor):
        pass

    model = GatedRegressor(GatedResNetCifar(20), gate_losses=LOSSES)
    losses = model(torch.randn(4, 3, 32, 32), mode="loss")
    assert set(losses) == {"loss_fit", "loss_bas", "loss_gate_l0"}


def test_names_resolve_in_a_host_without_custom_imports():
    code = """
from mmengine.registry import HOOKS, METRICS, MODELS, DATASETS, init_default_scope
import sys
init_default_scope("mmpretrain")
assert not any(name.startswith("mmbas") for name in sys.modules)
for registry, names in (
    (MODELS, ["GatedResNet", "GatedResNetCifar", "ChannelGate", "BetaPrior", "UniformPrior",
              "NormalPrior", "KumaraswamyPrior", "BatchShapingLoss", "GateL0Loss",
              "GatedImageClassifier", "GatedEncoderDecoder"]),
    (HOOKS, ["GateLossScheduleHook", "GateMonitorHook"]),
    (METRICS, ["ConditionalMACs", "GateStatistics"]),
    (DATASETS, ["Digits"]),
):
    for name in names:
        with registry.switch_scope_and_registry("mmpretrain") as scoped:
            assert scoped.get(f"mmbas.{name}") is not None, name
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
