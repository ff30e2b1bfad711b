"""Every segmentation config parses, builds, trains a step and predicts."""

from pathlib import Path
from types import SimpleNamespace

import helpers
import pytest
import torch

pytest.importorskip("mmseg")

from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, METRICS, MODELS, DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from mmbas.gates import named_gates

EXPERIMENTS = sorted(path.name for path in helpers.CONFIGS.glob("pspnet*.py"))
SMOKE = "configs/pspnet_r18_bas_street_scenes.py"
SIZE = (64, 96)


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope("mmseg"):
        yield


def load_config(name):
    return Config.fromfile(helpers.CONFIGS / name)


@pytest.fixture(scope="module", params=EXPERIMENTS)
def experiment(request):
    config = load_config(request.param)
    with DefaultScope.overwrite_default_scope("mmseg"):
        torch.manual_seed(0)
        model = MODELS.build(config.model)
    return SimpleNamespace(name=request.param, config=config, model=model)


def batch(num_images, num_classes, size=SIZE):
    samples = []
    for _ in range(num_images):
        labels = torch.randint(0, num_classes, (1, *size))
        labels[:, :4] = 255
        meta = dict(img_shape=size, ori_shape=size, pad_shape=size)
        samples.append(SegDataSample(metainfo=meta, gt_sem_seg=PixelData(data=labels)))
    images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for _ in range(num_images)]
    return dict(inputs=images, data_samples=samples)


def loss_of(model, data):
    losses = model(**model.data_preprocessor(data, training=True), mode="loss")
    return losses, model.parse_losses(losses)[0]


def is_gated(config):
    return config.model.backbone.gate is not None


def test_the_experiments_are_there():
    assert set(EXPERIMENTS) == {
        "pspnet_r50_cityscapes.py",
        "pspnet_r50_pretrained_cityscapes.py",
        "pspnet_r50_bas_cityscapes.py",
        "pspnet_r50_bas_pretrained_cityscapes.py",
        "pspnet_r50_bas_pretrained_lambda0.05_cityscapes.py",
        "pspnet_r50_bas_40k_cityscapes-512x1024.py",
        "pspnet_r18_camvid.py",
        "pspnet_r18_bas_camvid.py",
        "pspnet_r50_bas_camvid.py",
        "pspnet_r18_1500_camvid-240x180.py",
        "pspnet_r18_bas_1500_camvid-240x180.py",
        "pspnet_r18_bas_street_scenes.py",
        "pspnet_r18_recipe_1500_camvid-240x180.py",
        "pspnet_r50_recipe_40k_cityscapes-512x1024.py",
    }


def test_a_step_of_training_reaches_every_parameter(experiment):
    model = experiment.model.train()
    losses, total = loss_of(model, batch(2, model.num_classes))
    total.backward()

    assert ("loss_bas" in losses) == is_gated(experiment.config)
    assert {"decode.loss_ce", "aux.loss_ce"} <= set(losses)
    assert torch.isfinite(total)
    assert all(parameter.grad is not None for parameter in model.parameters())


@torch.no_grad()
def test_prediction_has_the_size_of_the_image_and_its_macs(experiment):
    model = experiment.model.eval()
    data = model.data_preprocessor(batch(1, model.num_classes, (59, 83)), training=False)
    sample = model(**data, mode="predict")[0]

    assert tuple(sample.pred_sem_seg.shape) == (59, 83)
    if "recipe" in experiment.name:  # its gates start open
        assert 0.9 * sample.dense_macs < sample.macs <= sample.dense_macs
    else:
        assert (sample.macs < sample.dense_macs) == is_gated(experiment.config)


def test_gates_decay_by_1e_6_and_all_others_as_the_recipe_says(experiment):
    optimizer = build_optim_wrapper(experiment.model, experiment.config.optim_wrapper).optimizer
    decays = {
        id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]
    }
    by_kind = {True: set(), False: set()}
    for name, parameter in experiment.model.named_parameters():
        by_kind[".gate." in name].add(round(decays[id(parameter)], 12))

    assert by_kind[True] == ({1e-6} if is_gated(experiment.config) else set())
    assert by_kind[False] == {5e-4 if "40k" in experiment.name else 1e-4}


def test_hooks_and_metrics_build(experiment):
    for hook in experiment.config.get("custom_hooks", []):
        HOOKS.build(hook)
    kinds = [METRICS.build(metric).__class__.__name__ for metric in experiment.config.val_evaluator]
    assert kinds == ["IoUMetric", "ConditionalMACs", "GateStatistics"]


def test_multi_scale_test_starts_from_what_the_single_scale_test_sees(experiment):
    config = experiment.config
    plain = [step.type for step in config.test_dataloader.dataset.pipeline]
    *before, augmentation = config.tta_pipeline
    last = [steps[0].type for steps in augmentation.transforms]

    assert config.tta_model.type == "mmbas.GatedSegTTAModel"
    assert [step.type for step in before] + last[2:] == plain
    assert last[:2] == ["Resize", "RandomFlip"]
    assert [len(steps) for steps in augmentation.transforms[:2]] == [6, 2]


def test_a_header_tells_the_papers_number_ours_the_command_and_the_knob(experiment):
    text = (helpers.CONFIGS / experiment.name).read_text(encoding="utf-8")
    header = text.split("_base_")[0]

    assert "# Paper: " in header
    assert "# Ours: " in header
    assert f"python tools/train.py configs/{experiment.name}" in header
    assert "# Knob: " in header


def test_a_dumped_config_reads_back_as_itself(experiment, tmp_path):
    experiment.config.dump(tmp_path / "dumped.py")
    assert Config.fromfile(tmp_path / "dumped.py").to_dict() == experiment.config.to_dict()


def test_the_training_is_the_papers():
    config = load_config("pspnet_r50_bas_cityscapes.py")
    optimizer, schedule = config.optim_wrapper.optimizer, config.param_scheduler
    pipeline = {step.type: step for step in config.train_dataloader.dataset.pipeline}

    assert (optimizer.type, optimizer.lr, optimizer.momentum) == ("SGD", 2e-2, 0.9)
    assert not optimizer.get("nesterov")
    assert (schedule.type, schedule.power, schedule.eta_min) == ("PolyLR", 0.9, 0.0)
    assert (schedule.begin, schedule.end, schedule.by_epoch) == (0, 150_000, False)
    assert config.train_cfg.max_iters == 150_000
    assert config.train_dataloader.batch_size == 6
    assert set(pipeline) == {
        *("LoadImageFromFile", "LoadAnnotations", "RandomResize"),
        *("RandomCrop", "RandomFlip", "PackSegInputs"),
    }
    assert pipeline["RandomCrop"] == dict(type="RandomCrop", crop_size=(448, 672))
    assert pipeline["RandomResize"].ratio_range == (0.5, 2.0)
    assert config.model.test_cfg == dict(mode="whole")
    assert config.model.gate_losses.bas.loss_weight == 0.2
    assert set(config.model.gate_losses) == {"bas"}


def test_lambda_0_05_and_the_weights_are_all_that_differs_in_the_variants():
    scratch, pretrained, weaker = (
        load_config(f"pspnet_r50_bas_{name}.py")
        for name in ("cityscapes", "pretrained_cityscapes", "pretrained_lambda0.05_cityscapes")
    )
    assert weaker.model.gate_losses.bas.pop("loss_weight") == 0.05
    assert pretrained.model.gate_losses.bas.pop("loss_weight") == 0.2
    assert weaker.to_dict() == pretrained.to_dict()
    assert pretrained.model.backbone.pop("init_cfg").checkpoint == "open-mmlab://resnet50_v1c"
    scratch.model.gate_losses.bas.pop("loss_weight")
    assert pretrained.to_dict() == scratch.to_dict()


@pytest.mark.parametrize(
    ("plain", "gated"),
    [
        ("pspnet_r50_cityscapes.py", "pspnet_r50_bas_cityscapes.py"),
        ("pspnet_r50_pretrained_cityscapes.py", "pspnet_r50_bas_pretrained_cityscapes.py"),
        ("pspnet_r18_camvid.py", "pspnet_r18_bas_camvid.py"),
        ("pspnet_r18_1500_camvid-240x180.py", "pspnet_r18_bas_1500_camvid-240x180.py"),
    ],
)
def test_plain_and_gated_differ_in_the_gates_alone(plain, gated):
    plain, gated = load_config(plain), load_config(gated)
    for config in (plain, gated):
        config.model.pop("gate_losses", None)
        config.pop("custom_hooks", None)
        config.model.backbone.pop("gate")
        config.model.backbone.pop("gate_positions", None)
    assert plain.to_dict() == gated.to_dict()


def test_the_command_line_makes_a_gated_config_plain():
    config = load_config("pspnet_r50_bas_camvid.py")
    config.merge_from_dict({"model.backbone.gate": None, "model.gate_losses.bas": None})
    assert not named_gates(MODELS.build(config.model))


def test_street_scenes_go_through_the_pipeline_of_cityscapes():
    ours, paper = load_config(Path(SMOKE).name), load_config("pspnet_r50_bas_cityscapes.py")
    for loader in ("train_dataloader", "val_dataloader"):
        dataset, model = ours[loader].dataset, paper[loader].dataset
        assert dataset.type == model.type
        assert dataset.data_prefix == model.data_prefix
        assert [step.type for step in dataset.pipeline] == [step.type for step in model.pipeline]


def test_weights_with_the_hosts_layout_start_the_backbone_and_gates_start_themselves(tmp_path):
    host = MODELS.build(dict(type="ResNetV1c", depth=18))
    host.init_weights()
    weights = {**host.state_dict(), "fc.weight": torch.zeros(1000, 512)}
    torch.save(weights, tmp_path / "resnet18_v1c.pth")
    config = load_config("pspnet_r50_bas_pretrained_cityscapes.py").model.backbone
    config.update(depth=18)
    config.init_cfg.checkpoint = str(tmp_path / "resnet18_v1c.pth")

    backbone = MODELS.build(config)
    backbone.init_weights()

    state = backbone.state_dict()
    for key, value in host.state_dict().items():
        assert torch.equal(state[key], value), key
    assert all(".gate." in key for key in state.keys() - weights.keys())
    for gate in named_gates(backbone).values():
        assert gate.fc2.weight.std() > 0


def test_a_gated_classifier_of_ours_starts_the_backbone_with_its_gates(tmp_path):
    """As docs/training.md says: a plain stem, and the classifier's prefix."""
    experiment = Config.fromfile(helpers.CONFIGS / "resnet18_bas_imagenet.py").model
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        classifier = MODELS.build(experiment)
    torch.save({"state_dict": classifier.state_dict()}, tmp_path / "epoch_150.pth")
    config = load_config("pspnet_r50_bas_cityscapes.py").model.backbone
    config.update(depth=18, deep_stem=False)
    checkpoint = str(tmp_path / "epoch_150.pth")
    config.init_cfg = dict(type="Pretrained", checkpoint=checkpoint, prefix="backbone.")

    backbone = MODELS.build(config)
    backbone.init_weights()

    trained, state = classifier.backbone.state_dict(), backbone.state_dict()
    assert any(".gate." in key for key in trained)
    assert state.keys() == trained.keys()
    for key, value in trained.items():
        assert torch.equal(state[key], value), key
