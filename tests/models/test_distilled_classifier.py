"""Distillation: the loss by hand, and a teacher that stays out of everything."""

import copy
import math

import pytest
import torch
from mmengine.model.weight_init import PretrainedInit
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.structures import DataSample

from mmbas.gates import named_gates
from mmbas.models.distilled_classifier import distillation_loss


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield


def network(kind, gate, **arguments):
    return dict(
        type=f"mmbas.{kind}",
        backbone=dict(type="mmbas.GatedResNetCifar", depth=20, gate=gate),
        neck=dict(type="GlobalAveragePooling"),
        head=dict(type="LinearClsHead", num_classes=10, in_channels=64),
        **arguments,
    )


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A plain network's checkpoint."""
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        torch.manual_seed(1)
        plain = MODELS.build(network("GatedImageClassifier", None))
        plain.init_weights()
    path = tmp_path_factory.mktemp("plain") / "plain.pth"
    torch.save({"state_dict": plain.state_dict()}, path)
    return path


def distilled(checkpoint, gate=dict(type="mmbas.ChannelGate"), **arguments):  # noqa: B006
    weights = dict(type="Pretrained", checkpoint=str(checkpoint))
    teacher = network("GatedImageClassifier", None, init_cfg=weights)
    torch.manual_seed(0)
    return MODELS.build(network("DistilledClassifier", gate, teacher=teacher, **arguments))


def batch(n=4):
    torch.manual_seed(2)
    return torch.randn(n, 3, 16, 16), [DataSample().set_gt_label(i % 10) for i in range(n)]


def test_loss_by_hand():
    # Teacher 3/4 and 1/4 at T = 2, student 1/2 and 1/2: KL = 3/4 ln(3/2) + 1/4 ln(1/2), times 4
    teacher = torch.tensor([[2 * math.log(3.0), 0.0]])
    student = torch.zeros(1, 2, requires_grad=True)
    loss = distillation_loss(student, teacher, temperature=2.0)
    assert loss.item() == pytest.approx(4 * (0.75 * math.log(1.5) + 0.25 * math.log(0.5)))
    loss.backward()
    # T^2 / T (softmax(student / T) - softmax(teacher / T))
    torch.testing.assert_close(student.grad, torch.tensor([[-0.5, 0.5]]))


def test_loss_is_zero_where_student_and_teacher_agree():
    logits = torch.randn(5, 10)
    assert distillation_loss(logits, logits + 3.0).item() == pytest.approx(0, abs=1e-6)
    half = distillation_loss(logits.bfloat16(), torch.randn(5, 10).bfloat16())
    assert half.dtype == torch.float32
    assert half > 0


def test_another_number_of_classes_is_refused():
    with pytest.raises(ValueError, match="expected a teacher with the classes of the student"):
        distillation_loss(torch.zeros(2, 10), torch.zeros(2, 100))


def test_a_plain_student_with_the_teachers_weights_has_no_distance(checkpoint):
    weights = dict(type="Pretrained", checkpoint=str(checkpoint))
    model = distilled(checkpoint, gate=None, init_cfg=weights)
    model.init_weights()
    model.eval()  # batch statistics would differ from the teacher's running ones
    losses = model.loss(*batch())
    assert set(losses) == {"loss_task", "loss_distill"}
    assert losses["loss_distill"].item() == pytest.approx(0, abs=1e-5)


def test_one_step_trains_the_student_and_leaves_the_teacher(checkpoint):
    model = distilled(
        checkpoint, distill_weight=0.5, gate_losses=dict(l0=dict(type="mmbas.GateL0Loss"))
    )
    model.init_weights()
    optimizer = build_optim_wrapper(model, dict(optimizer=dict(type="SGD", lr=0.1)))
    before = copy.deepcopy(model.teacher.state_dict())
    loaded = torch.load(checkpoint)["state_dict"]
    student = {name: p.detach().clone() for name, p in model.named_parameters()}

    losses = model.train().loss(*batch())
    assert set(losses) == {"loss_task", "loss_distill", "loss_gate_l0"}
    optimizer.update_params(model.parse_losses(losses)[0])

    assert not model.teacher.training
    for name, value in model.teacher.state_dict().items():
        assert torch.equal(value, before[name]), name
        assert torch.equal(value, loaded[name]), name
    teachers = {id(p) for p in model.teacher.parameters()}
    optimized = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(optimized) == len(student)
    assert not teachers & {id(p) for p in optimized}
    assert not any(p.requires_grad for p in model.teacher.parameters())
    assert not torch.equal(student["head.fc.weight"], model.head.fc.weight)


def test_a_gated_student_starts_from_the_plain_network_with_open_gates(checkpoint):
    weights = dict(type="Pretrained", checkpoint=str(checkpoint))
    gate = dict(type="mmbas.ChannelGate", init_open_prob=0.9)
    model = distilled(checkpoint, gate=gate, init_cfg=weights)
    model.init_weights()
    own = model.state_dict()
    for name, value in torch.load(checkpoint)["state_dict"].items():
        assert torch.equal(own[name], value), name
    for gate in named_gates(model).values():
        torch.testing.assert_close(gate.fc2.bias, torch.full((gate.num_gates,), math.log(9.0)))


def test_weights_and_temperature_enter_the_loss(checkpoint):
    model = distilled(checkpoint, distill_weight=0.5, temperature=2.0)
    model.init_weights()
    model.eval()
    inputs, samples = batch()
    expected = distillation_loss(
        model(inputs, mode="tensor"), model.teacher(inputs, mode="tensor"), temperature=2.0
    )
    assert expected > 0
    torch.testing.assert_close(model.loss(inputs, samples)["loss_distill"], 0.5 * expected)


def test_checkpoints_are_those_of_a_gated_classifier(checkpoint):
    model = distilled(checkpoint)
    student = MODELS.build(network("GatedImageClassifier", dict(type="mmbas.ChannelGate")))
    assert set(model.state_dict()) == set(student.state_dict())
    student.load_state_dict(model.state_dict(), strict=True)
    # EMA copies the model: the copy shares the teacher
    assert copy.deepcopy(model).teacher is model.teacher


def test_without_a_teacher_it_is_a_gated_classifier():
    model = MODELS.build(network("DistilledClassifier", None, teacher=None))
    model.init_weights()
    assert set(model.loss(*batch())) == {"loss"}


def test_a_teacher_without_weights_is_refused():
    with pytest.raises(ValueError, match="expected a teacher with weights"):
        MODELS.build(
            network("DistilledClassifier", None, teacher=network("GatedImageClassifier", None))
        )


def test_a_missing_checkpoint_is_named(tmp_path):
    model = distilled(tmp_path / "absent.pth")
    with pytest.raises(ValueError, match=r"plain network's checkpoint at .*absent\.pth"):
        model.init_weights()


@pytest.mark.parametrize("arguments", [dict(distill_weight=-1.0), dict(temperature=0.0)])
def test_bad_arguments(arguments):
    with pytest.raises(ValueError, match="expected a finite"):
        MODELS.build(network("DistilledClassifier", None, teacher=None, **arguments))


@pytest.mark.parametrize("form", ["Pretrained", "mmengine.Pretrained", PretrainedInit])
@pytest.mark.parametrize("kind", ["mmbas.GatedImageClassifier", "mmpretrain.ImageClassifier"])
def test_the_whole_teacher_loads_in_whatever_form_that_is_written(checkpoint, form, kind):
    weights = dict(type=form, checkpoint=str(checkpoint))
    teacher = network("GatedImageClassifier", None, init_cfg=weights) | dict(type=kind)
    gate = dict(type="mmbas.ChannelGate")
    model = MODELS.build(network("DistilledClassifier", gate, teacher=teacher))
    model.init_weights()
    saved = torch.load(checkpoint)["state_dict"]
    assert all(torch.equal(model.teacher.state_dict()[name], saved[name]) for name in saved)
