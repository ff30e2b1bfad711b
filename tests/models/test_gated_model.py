"""Gate losses before any registered model, by config; no host is imported that nobody names."""

import copy
import io
import logging
import pickle
import re

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement

from mmbas.backbones import GatedResNetCifar
from mmbas.gates import force_gate_logits
from mmbas.models import GateLossMixin
from mmbas.models.gated_model import gated_class

LOSSES = dict(
    bas=dict(type="mmbas.BatchShapingLoss", reduction="layer_mean"),
    target=dict(type="mmbas.TargetMACsLoss", target=0.4),
)


@MODELS.register_module()
class HostOfMethods(BaseModel):
    """As the models of the hosts: ``loss`` and ``predict`` take images and data samples."""

    def __init__(self, depth=8, data_preprocessor=None, init_cfg=None):
        super().__init__(data_preprocessor, init_cfg)
        self.backbone = GatedResNetCifar(depth)

    def forward(self, inputs, data_samples=None, mode="tensor"):
        if mode == "tensor":
            assert len(inputs) == len(data_samples), "one sample for each image"
            return self.backbone(inputs)
        return getattr(self, mode)(inputs, data_samples)

    def loss(self, inputs, data_samples):
        return dict(loss_fit=self.backbone(inputs)[0].square().mean())

    def predict(self, inputs, data_samples):
        self.backbone(inputs)
        return data_samples


@MODELS.register_module()
class HostOfForward(BaseModel):
    """As the model of mmengine's tutorial; ``loss`` is a criterion, images have another name."""

    def __init__(self):
        super().__init__()
        self.backbone = GatedResNetCifar(8)
        self.head = torch.nn.Linear(64, 3)
        self.loss = torch.nn.CrossEntropyLoss()

    def forward(self, imgs, labels=None, mode="tensor"):
        scores = self.head(self.backbone(imgs)[0].mean((2, 3)))
        if mode == "loss":
            return dict(loss=self.loss(scores, labels))
        return (scores, labels) if mode == "predict" else scores


@MODELS.register_module()
class NoModel:
    """Registered, but nothing that mmengine trains."""


def build(host, **arguments):
    torch.manual_seed(0)
    return MODELS.build(
        dict(type="mmbas.GatedModel", host=host, gate_losses=copy.deepcopy(LOSSES), **arguments)
    )


def images(n=4):
    return torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def samples(n=4):
    return [BaseDataElement() for _ in range(n)]


def test_a_host_with_methods_gets_losses_and_costs():
    model = build("HostOfMethods")
    assert isinstance(model, GateLossMixin)
    assert isinstance(model, HostOfMethods)
    losses = model(images(), samples(), mode="loss")
    assert set(losses) == {"loss_fit", "loss_bas", "loss_target_macs", "macs_fraction"}
    predictions = model.eval()(images(), samples(), mode="predict")
    assert {sample.dense_macs for sample in predictions} == {model.dense_macs(images(), samples())}
    assert all(0 < sample.macs < sample.dense_macs for sample in predictions)


def test_the_state_dict_is_the_hosts():
    assert build("HostOfMethods").state_dict().keys() == HostOfMethods().state_dict().keys()


def test_a_host_of_one_method_gets_losses_and_costs():
    model = build("HostOfForward")
    labels = torch.tensor([0, 1, 2, 0])
    data = dict(imgs=images(), labels=labels)
    losses = model(**data, mode="loss")
    assert set(losses) == {"loss_task", "loss_bas", "loss_target_macs", "macs_fraction"}
    assert set(model.last_gates) == {f"backbone.layer{i}.0.gate" for i in (1, 2, 3)}
    expected = model.loss(model(**data, mode="tensor"), labels)
    with force_gate_logits(model, 30.0):
        opened = model(**data, mode="loss")["loss_task"]
    assert opened.isfinite()
    assert expected.isfinite()
    scores, kept = model.eval()(**data, mode="predict")  # no data samples to leave costs on
    assert scores.shape == (4, 3)
    assert kept is labels


def test_a_host_by_its_class_and_one_that_is_gated_already():
    assert type(build(HostOfMethods)) is gated_class(HostOfMethods)
    assert gated_class(gated_class(HostOfMethods)) is gated_class(HostOfMethods)
    assert type(build("HostOfMethods")).__name__ == "GatedHostOfMethods"


@pytest.mark.parametrize("host", ["HostOfMethods", "HostOfForward"])
def test_copies_and_pickles_compute_the_same(host):
    model = build(host).eval()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), saved(model)):
        assert type(other) is type(model)
        for key, value in model.state_dict().items():
            assert torch.equal(value, other.state_dict()[key])
        torch.testing.assert_close(other.backbone(images()), model.backbone(images()))


def saved(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def test_gate_losses_need_gates():
    class Plain(HostOfMethods):
        def __init__(self):
            BaseModel.__init__(self)

    with pytest.raises(ValueError, match="expected a gated backbone for gate_losses"):
        build(Plain)
    assert MODELS.build(dict(type="mmbas.GatedModel", host=Plain)) is not None


@pytest.mark.parametrize(
    ("host", "error", "message"),
    [
        ("HostOfNobody", ValueError, "but got 'HostOfNobody'; write it with the scope"),
        ("mmnowhere.FasterRCNN", ValueError, "and mmnowhere is not installed; install it"),
        ("mmengine.HostOfNobody", ValueError, "write it with the scope"),
        ("NoModel", TypeError, "expected host to be a model of mmengine"),
        (torch.nn.Linear, TypeError, "expected host to be a model of mmengine"),
        (3, TypeError, "expected host to be a model of mmengine, .* but got 3"),
    ],
)
def test_what_is_no_host_is_named(host, error, message):
    with pytest.raises(error, match=message):
        build(host)


def test_a_name_without_a_scope_is_of_the_default_scope():
    pytest.importorskip("mmpretrain")
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = build(
            "ImageClassifier",
            backbone=dict(type="mmbas.GatedResNetCifar", depth=8),
            neck=dict(type="GlobalAveragePooling"),
            head=dict(type="LinearClsHead", num_classes=3, in_channels=64),
        )
    assert type(model).__name__ == "GatedImageClassifier"


def warnings_of(model, losses, caplog, times=1):
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(times):
            model.parse_losses({name: torch.tensor(value) for name, value in losses.items()})
    return [record.getMessage() for record in caplog.records if "outweigh" in record.getMessage()]


@pytest.fixture
def logger(monkeypatch, caplog):
    """What print_log writes, in caplog."""
    from mmengine.logging import MMLogger

    name = MMLogger.get_current_instance()
    name.addHandler(caplog.handler)
    yield
    name.removeHandler(caplog.handler)


@pytest.mark.usefixtures("logger")
def test_a_gate_loss_that_outweighs_the_task_is_warned_of_once(caplog):
    model = build("HostOfMethods")
    fine = dict(loss_fit=1.0, loss_bas=9.9, loss_target_macs=0.5, macs_fraction=500.0)
    assert warnings_of(model, fine, caplog) == []
    (message,) = warnings_of(model, {**fine, "loss_bas": 190.0}, caplog, times=3)
    assert re.search("loss_bas is 190, while the task's loss is 1: .* the task", message)
    assert "Set model.gate_losses.bas.reduction='layer_mean', or lower" in message


@pytest.mark.usefixtures("logger")
def test_other_gate_losses_have_their_own_advice(caplog):
    losses = dict(loss_fit=1.0, loss_bas=0.1, loss_target_macs=30.0)
    (message,) = warnings_of(build("HostOfMethods"), losses, caplog)
    assert "falls as the average nears the target" in message
    assert "lower model.gate_losses.target.loss_weight" in message


@pytest.mark.usefixtures("logger")
def test_only_the_first_iterations_are_watched(caplog):
    model = build("HostOfMethods")
    fine = dict(loss_fit=1.0, loss_bas=1.0)
    assert warnings_of(model, fine, caplog, times=10) == []
    assert warnings_of(model, {**fine, "loss_bas": 1000.0}, caplog) == []
    assert warnings_of(build("HostOfMethods"), dict(loss_bas=1000.0), caplog) == []  # no task
