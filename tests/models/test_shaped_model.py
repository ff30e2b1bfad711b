"""Plain models of MMPretrain and MMSegmentation are shaped by config alone."""

import copy
import pickle

import pytest
import torch
from hooks.runner_case import PlainModel, run
from mmengine.hooks import Hook
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmpretrain.structures import DataSample
from mmseg.structures import SegDataSample

from mmbas.hooks.gate_loss_schedule_hook import scheduled_losses
from mmbas.losses import NormalPrior, shaping_loss
from mmbas.models import ShapingMixin

SHAPING = dict(
    norms=dict(
        type="mmbas.ShapingLoss",
        features=["backbone.layer1.*.bn2"],
        prior=dict(type="mmbas.NormalPrior"),
        dim="channel",
        max_values=4096,
        max_channels=None,
        loss_weight=0.1,
    )
)
CLASSIFIER = dict(
    backbone=dict(type="ResNet", depth=18, base_channels=8, stem_channels=8),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=10, in_channels=64),
)
SEGMENTOR = dict(
    backbone=dict(type="ResNetV1c", depth=18, base_channels=8, stem_channels=8),
    decode_head=dict(
        type="FCNHead", in_channels=64, in_index=3, channels=8, num_convs=1, num_classes=3,
        dropout_ratio=0.0, align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss"),
    ),
)  # fmt: skip


def classifier(**model):
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        return MODELS.build(dict(**CLASSIFIER, **model)).train()


def batch():
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(4, 3, 64, 64, generator=generator)
    return images, [DataSample().set_gt_label(i) for i in range(4)]


def test_a_plain_classifier_is_shaped():
    plain = classifier(type="ImageClassifier")
    model = classifier(type="mmbas.ShapedModel", host="ImageClassifier", shaping_losses=SHAPING)
    assert isinstance(model, type(plain))
    expected = [k for k in plain.state_dict() if "layer" in k]
    assert [k for k in model.state_dict() if "layer" in k] == expected
    losses, host_losses = model.loss(*batch()), plain.loss(*batch())
    assert set(losses) == {"loss_task", "loss_shaping_norms"}
    torch.testing.assert_close(losses["loss_task"], host_losses["loss"], rtol=0, atol=0)

    block = plain.backbone.layer1[0]
    images = plain.backbone.relu(plain.backbone.norm1(plain.backbone.conv1(batch()[0])))
    images = plain.backbone.maxpool(images)
    first = block.bn2(block.conv2(block.relu(block.bn1(block.conv1(images)))))
    second = model.shaping_losses["norms"].names
    assert second == ["backbone.layer1.0.bn2", "backbone.layer1.1.bn2"]
    expected = shaping_loss(first.transpose(0, 1).flatten(1).t(), NormalPrior()).mean()
    with model.shaping_losses["norms"].recording(model) as features:
        model.extract_feat(batch()[0])
    values = features["backbone.layer1.0.bn2"].values
    torch.testing.assert_close(shaping_loss(values, NormalPrior()).mean(), expected)

    losses["loss_shaping_norms"].backward()
    assert model.backbone.layer1[1].bn2.weight.grad.abs().min() > 0
    assert model.backbone.layer2[0].bn2.weight.grad is None
    assert not any(module._forward_hooks for module in model.modules())


def test_predictions_and_copies_are_those_of_the_host():
    plain = classifier(type="ImageClassifier").eval()
    model = classifier(
        type="mmbas.ShapedModel", host="mmpretrain.ImageClassifier", shaping_losses=SHAPING
    ).eval()
    images = batch()[0]
    torch.testing.assert_close(model(images), plain(images), rtol=0, atol=0)
    twin = copy.deepcopy(model).train()
    assert set(twin.loss(*batch())) == {"loss_task", "loss_shaping_norms"}
    unshaped = classifier(
        type="mmbas.ShapedModel", host="ImageClassifier", shaping_losses=dict(norms=None)
    )
    assert set(unshaped.loss(*batch())) == {"loss"}


def test_a_plain_segmentor_is_shaped():
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build(
            dict(
                type="mmbas.ShapedModel", host="EncoderDecoder", shaping_losses=SHAPING, **SEGMENTOR
            )
        ).train()
        samples = [
            SegDataSample(gt_sem_seg=PixelData(data=torch.randint(3, (1, 64, 64))))
            for _ in range(2)
        ]
        losses = model.loss(torch.randn(2, 3, 64, 64), samples)
    assert "decode.loss_ce" in losses
    losses["loss_shaping_norms"].backward()
    assert model.backbone.layer1[1].bn2.weight.grad.abs().min() > 0


def test_gates_and_features_are_shaped_together():
    cfg = dict(
        type="mmbas.ShapedModel",
        host="ImageClassifier",  # gate_losses make it a gated model
        backbone=dict(type="mmbas.GatedResNetCifar", depth=8, gate=dict(type="mmbas.ChannelGate")),
        neck=dict(type="GlobalAveragePooling"),
        head=dict(type="LinearClsHead", num_classes=10, in_channels=64),
        gate_losses=dict(bas=dict(type="mmbas.BatchShapingLoss")),
        shaping_losses=SHAPING,
    )
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = MODELS.build(cfg).train()
    losses = model.loss(batch()[0][:, :, :32, :32], batch()[1])
    assert set(losses) == {"loss_task", "loss_bas", "loss_shaping_norms"}
    assert set(scheduled_losses(model)) == {"bas", "norms"}


class Plain(ShapingMixin, PlainModel):
    pass


class Recorder(Hook):
    priority = "LOWEST"

    def __init__(self):
        self.factors, self.logged = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.factors.append(runner.model.shaping_losses["norms"].factor)
        self.logged.append(outputs["loss_shaping_norms"].item())


def test_a_schedule_and_a_runner(tmp_path):
    recorder = Recorder()
    schedule = dict(
        type="mmbas.GateLossScheduleHook",
        windows=dict(norms=dict(begin=0, end=1, start_factor=1.0, end_factor=0.0)),
    )
    model = Plain(gate=False, shaping_losses=SHAPING)
    run(tmp_path, [schedule, recorder], model=model)
    assert recorder.factors == [1.0, 0.75, 0.5, 0.25, *[0.0] * 8]
    assert all(value > 0 for value in recorder.logged[:4])
    assert recorder.logged[4:] == [0.0] * 8
    assert model.shaping_losses["norms"].steps.count == 4
    model.gate_losses = model.shaping_losses
    with pytest.raises(ValueError, match="names that differ"):
        scheduled_losses(model)


def test_errors_say_what_to_do():
    norms = SHAPING["norms"]
    with pytest.raises(ValueError, match=r"nearest names are \['backbone.layer1"):
        Plain(shaping_losses=dict(norms={**norms, "features": ["backbone.layer1.0.bn5"]}))
    with pytest.raises(TypeError, match="shaping_losses.l0 to be a mmbas.ShapingLoss"):
        Plain(shaping_losses=dict(l0=dict(type="mmbas.GateL0Loss", loss_weight=0.1)))
    with pytest.raises(ValueError, match="name of a registered model as host"):
        classifier(type="mmbas.ShapedModel", host="Imageclassifier")


class AllInForward(PlainModel):
    loss = None

    def forward(self, inputs, mode="tensor"):
        return PlainModel.loss(self, inputs) if mode == "loss" else self.backbone(inputs)


def test_a_host_that_computes_everything_in_forward():
    arguments = dict(host=AllInForward, gate=False, shaping_losses=SHAPING)
    model = MODELS.build(dict(type="mmbas.ShapedModel", **arguments))
    images = torch.randn(4, 3, 8, 8)
    assert set(model(images, mode="loss")) == {"loss_fit", "loss_shaping_norms"}
    twin = pickle.loads(pickle.dumps(model))
    torch.testing.assert_close(twin.eval()(images)[0], model.eval()(images)[0])
