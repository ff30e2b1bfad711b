"""The mixin over the hosts' models: losses in training, cost per image in prediction."""

import subprocess
import sys

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.structures import DataSample

from mmbas.backbones import GatedResNetCifar
from mmbas.gates import named_gates, record_gate_outputs
from mmbas.gates.recorder import is_recording
from mmbas.metrics import ConditionalMACs
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
    assert not is_recording()


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


def test_predictions_carry_the_parameters_of_each_image():
    model = classifier().eval()
    for sample in model.predict(*batch(5)):
        # BY HAND: every block reads 9 weights per pair of an open inner channel and an outer one
        closed = 0
        opened = sample.gates.split([16] * 3 + [32] * 3 + [64] * 3)
        outer = [16 + 16] * 3 + [16 + 32] + [32 + 32] * 2 + [32 + 64] + [64 + 64] * 2
        for gates, channels in zip(opened, outer, strict=True):
            closed += 9 * channels * int((~gates).sum())
        assert closed > 0
        assert sample.dense_params == sum(p.numel() for p in model.parameters())
        assert sample.params == pytest.approx(sample.dense_params - closed)


def test_costs_are_left_out_where_nobody_wants_them():
    model = classifier().eval()
    model.report_costs = False
    sample = model.predict(*batch(2))[0]
    assert "macs" not in sample
    assert "pred_score" in sample
    with pytest.raises(ValueError, match="expected 'macs' on each data sample.*report_costs=True"):
        ConditionalMACs().process({}, [sample.to_dict()])


def test_plain_network_costs_its_dense_macs():
    sample = classifier(gate_losses=None, gate=None).eval().predict(*batch(2))[0]
    assert sample.params == sample.dense_params
    assert sample.macs == sample.dense_macs == 40_550_400 + 640
    assert sample.open_fraction == 1.0
    assert len(sample.gates) == 0


TARGET = dict(target=dict(type="mmbas.TargetMACsLoss", target=0.3, loss_weight=10.0))


def test_target_macs_loss_sees_the_whole_network():
    model = classifier(TARGET)
    inputs, samples = batch()
    with record_gate_outputs(model) as records:
        losses = model.loss(inputs, samples)
    assert set(losses) == {"loss_task", "loss_target_macs", "macs_fraction"}
    # the gates that evaluation would choose, of a network of 40.6 M MACs with gates and classifier
    dense = 40_561_024
    closed = 0.0
    for (
        output,
    ) in records.values():  # the image on which dense MACs are counted is not among them
        shut = (output.logits <= 0).double().mean(dim=1)
        closed += (output.dense_macs * shut).mean().item()
    fraction = 1 - closed / dense
    assert losses["macs_fraction"].item() == pytest.approx(fraction, abs=1e-6)
    assert losses["loss_target_macs"].item() == pytest.approx(10 * (fraction - 0.3) ** 2, rel=1e-4)
    total, logged = model.parse_losses(losses)
    torch.testing.assert_close(total, losses["loss_task"] + losses["loss_target_macs"])
    total.backward()
    assert model.backbone.layer2[1].gate.fc2.bias.grad.abs().sum() > 0
    assert "macs_fraction" in logged


def test_dense_macs_are_counted_once_for_each_size_and_leave_no_trace(monkeypatch):
    from mmbas.models import gate_loss_mixin

    model = classifier(TARGET)
    model.backbone.layer1[0].eval()  # as a frozen stage
    modes = {name: module.training for name, module in model.named_modules()}
    state = {key: value.clone() for key, value in model.state_dict().items()}
    random = torch.get_rng_state()
    calls = []
    count = gate_loss_mixin.count_dense_macs
    monkeypatch.setattr(
        gate_loss_mixin, "count_dense_macs", lambda *args: calls.append(1) or count(*args)
    )
    sizes = [model.dense_macs(torch.zeros(4, 3, size, size)) for size in (32, 64, 32)]
    assert len(calls) == 2
    assert sizes[0] == sizes[2] == 40_561_024
    assert sizes[1] == classifier().eval().predict(torch.zeros(2, 3, 64, 64))[0].dense_macs
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert torch.equal(torch.get_rng_state(), random)
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key]), key
    assert not is_recording()


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
from mmengine.registry import HOOKS, METRICS, MODELS, DATASETS, TRANSFORMS, init_default_scope
import sys
init_default_scope("mmpretrain")
assert not any(name.startswith("mmbas") for name in sys.modules)
for registry, names in (
    (MODELS, ["GatedResNet", "GatedResNetCifar", "ChannelGate", "BetaPrior", "UniformPrior",
              "NormalPrior", "KumaraswamyPrior", "BatchShapingLoss", "GateL0Loss",
              "TargetMACsLoss", "GatedImageClassifier", "GatedEncoderDecoder",
              "DistilledClassifier"]),
    (HOOKS, ["GateLossScheduleHook", "GateMonitorHook"]),
    (METRICS, ["ConditionalMACs", "ConditionalParams", "GateStatistics"]),
    (DATASETS, ["Digits"]),
    (TRANSFORMS, ["LoadCheckedImage"]),
):
    for name in names:
        with registry.switch_scope_and_registry("mmpretrain") as scoped:
            assert scoped.get(f"mmbas.{name}") is not None, name
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=600)
