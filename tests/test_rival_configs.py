"""The experiments of other methods: what they build, train and say."""

import copy

import pytest
import torch

pytest.importorskip("mmpretrain")

from helpers import CONFIGS
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, METRICS, MODELS, init_default_scope
from mmpretrain.structures import DataSample

from mmbas.gates import is_gate_parameter

RIVALS = CONFIGS / "rivals"
EXPERIMENTS = sorted(path.name for path in RIVALS.glob("*.py"))
# Small enough to be run in a test: the method is the same.
SMALL = {"mmbas.GatedResNet": 18, "mmbas.GatedResNetCifar": 8}


def load_config(name):
    config = Config.fromfile(RIVALS / name)
    init_default_scope(config.default_scope)
    return config


def build_model(config):
    preprocessor = dict(config.data_preprocessor)
    return MODELS.build({**config.model, "data_preprocessor": preprocessor})


def without_checkpoints(config):
    """The config's model, its weights not loaded from anywhere."""
    config = copy.deepcopy(config)
    config.model.pop("init_cfg", None)
    if "teacher" in config.model:
        config.model.teacher = None
    return config


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_config_builds_and_its_rules_for_parameters_hit_something(name):
    config = without_checkpoints(load_config(name))
    with torch.device("meta"):
        model = build_model(config)
    names = [key for key, _ in model.named_parameters()]
    assert any(is_gate_parameter(key) for key in names)
    paramwise = config.optim_wrapper.get("paramwise_cfg") or {}
    for key in set(paramwise.get("custom_keys", {})) - {".gate."}:  # of the common schedule
        assert any(key in each for each in names), key
    build_optim_wrapper(model, config.optim_wrapper)
    settings = {name for gate in gates_of(model) for name in gate.settings}
    for hook in config.get("custom_hooks", []):
        HOOKS.build(hook)
        assert set(hook.get("windows", {})) <= set(config.model.get("gate_losses") or {})
        assert hook.get("setting") is None or hook.setting in settings | {"tightness"}
    for metric in config.test_evaluator:
        METRICS.build(metric)


def gates_of(model):
    from mmbas.gates import named_gates

    return list(named_gates(model).values())


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_header_tells_the_papers_numbers_ours_and_what_departs(name):
    header = (RIVALS / name).read_text(encoding="utf-8").split("_base_")[0]
    for part in ("# Paper: ", "# Departs from ", "# Ours: not run.", "# Knob: "):
        assert part in header, part
    assert f"python tools/train.py configs/rivals/{name}\n" in header
    if name.endswith("_imagenet.py"):
        assert f"bash tools/dist_train.sh configs/rivals/{name} 4 " in header


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if "resnet32" in name])
def test_a_training_step_reaches_every_parameter(name):
    config = without_checkpoints(load_config(name))
    config.model.backbone.depth = SMALL[config.model.backbone.type]
    model = build_model(config).train()
    model.init_weights()
    batch = dict(
        inputs=[torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8) for _ in range(8)],
        data_samples=[DataSample().set_gt_label(i) for i in range(8)],
    )
    losses = model(**model.data_preprocessor(batch, training=True), mode="loss")
    total, _ = model.parse_losses(losses)
    total.backward()
    assert {loss.loss_name for loss in model.gate_losses.values()} <= set(losses)
    assert torch.isfinite(total)
    missing = [key for key, value in model.named_parameters() if value.grad is None]
    assert not missing
