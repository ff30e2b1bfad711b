"""Every tool takes a Python-style config: ``read_base``, classes as types, no default scope."""

import pytest

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")

import torch
from helpers import call_tool, json_of
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmbas.cli.command_line import build_model
from mmbas.cli.launcher import join_processes
from mmbas.experiments.schedule_length import scale_schedule

BASE = """
from mmengine.dataset import ConcatDataset, DefaultSampler, RepeatDataset
from mmengine.evaluator import Evaluator
from mmengine.hooks import CheckpointHook
from mmengine.optim import CosineAnnealingLR, OptimWrapper
from mmengine.runner import EpochBasedTrainLoop
from mmpretrain.datasets import PackInputs, RandomCrop
from mmpretrain.engine.hooks import VisualizationHook
from mmpretrain.evaluation import Accuracy
from mmpretrain.models import ClsDataPreprocessor, CrossEntropyLoss, GlobalAveragePooling
from mmpretrain.models import LinearClsHead
from torch.nn import SyncBatchNorm
from torch.optim import SGD

from mmbas.backbones import GatedResNetCifar
from mmbas.datasets import Digits, HeldOut
from mmbas.gates import ChannelGate
from mmbas.hooks import GateLossScheduleHook
from mmbas.losses import BatchShapingLoss, BetaPrior, GateL0Loss, TargetMACsLoss
from mmbas.metrics import ConditionalMACs, GateStatistics
from mmbas.models import GatedImageClassifier

model = dict(
    type=GatedImageClassifier,
    data_preprocessor=dict(type=ClsDataPreprocessor, mean=[78.0] * 3, std=[82.6] * 3),
    backbone=dict(type=GatedResNetCifar, depth=8, gate=dict(type=ChannelGate)),
    neck=dict(type=GlobalAveragePooling),
    head=dict(
        type=LinearClsHead, num_classes=10, in_channels=64, loss=dict(type=CrossEntropyLoss)
    ),
    gate_losses=dict(
        bas=dict(type=BatchShapingLoss, prior=dict(type=BetaPrior, a=0.6, b=0.4)),
        l0=dict(type=GateL0Loss, loss_weight=0.05),
    ),
)
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dict(
        type=RepeatDataset,
        times=2,
        dataset=dict(
            type=HeldOut,
            num_held_out=16,
            part="held_out",
            dataset=dict(
                type=Digits,
                split="train",
                pipeline=[dict(type=RandomCrop, crop_size=32, padding=4), dict(type=PackInputs)],
            ),
        ),
    ),
)
part = dict(type=Digits, split="test", indices=12, pipeline=[dict(type=PackInputs)])
test_dataloader = dict(
    batch_size=8,
    num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(type=ConcatDataset, datasets=[part, part]),
)
val_dataloader = test_dataloader
test_evaluator = [
    dict(type=Accuracy, topk=(1,)), dict(type=ConditionalMACs), dict(type=GateStatistics)
]
val_evaluator = test_evaluator
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=SGD, lr=0.1))
param_scheduler = dict(type=CosineAnnealingLR, by_epoch=True, T_max=4)
train_cfg = dict(type=EpochBasedTrainLoop, max_epochs=4, val_interval=4)
val_cfg = dict()
test_cfg = dict()
custom_hooks = [
    dict(
        type=GateLossScheduleHook,
        windows=dict(bas=dict(begin=0, end=2, start_factor=1.0, end_factor=0.0)),
    )
]
default_hooks = dict(checkpoint=dict(type=CheckpointHook, interval=1))
"""

LAZY = """
from mmengine.config import read_base

with read_base():
    from .base import *

model.gate_losses.update(l0=None, target=dict(type=TargetMACsLoss, target=0.6))
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lazy")
    (folder / "base.py").write_text(BASE, encoding="utf-8")
    (folder / "lazy.py").write_text(LAZY, encoding="utf-8")
    return folder / "lazy.py"


@pytest.fixture(scope="module")
def checkpoint(config):
    torch.manual_seed(0)
    model = build_model(Config.fromfile(config))
    model.init_weights()
    path = config.with_name("gated.pth")
    torch.save({"state_dict": model.state_dict()}, path)
    return path


@pytest.fixture(autouse=True)
def _no_scope():
    """As in a process of its own: no test before this one has chosen a scope."""
    with DefaultScope.overwrite_default_scope("mmengine"):
        yield


@pytest.fixture(scope="module")
def tested(config, checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tested")
    arguments = ("test", config, checkpoint, "--work-dir", folder / "run")
    pictures = ("--save-macs", folder / "macs.json", "--show-macs", folder / "macs.png")
    return json_of(call_tool, *arguments, *pictures, out=folder / "test.json")


def test_tools_that_only_count(config, tmp_path):
    result = json_of(call_tool, "count_macs", config, out=tmp_path / "count.json")
    assert result["shape"] == [32, 32]


def test_testing(tested):
    assert tested["gates/conditional"] >= 0


def test_the_reduced_config_is_a_text(config, checkpoint, tested, tmp_path):
    out = tmp_path / "reduced.pth"
    arguments = ("reduce", config, checkpoint, "--out", out, "--min-rate", "0")
    result = json_of(call_tool, *arguments, out=tmp_path / "reduce.json")
    assert result["before"]["macs/average"] == pytest.approx(tested["macs/average"])
    # 16 images, each once though the training repeats them.
    assert result["num_calibration_images"] == 16
    work_dir = ("--work-dir", tmp_path / "run")
    again = json_of(
        *(call_tool, "test", out.with_suffix(".py"), out, *work_dir), out=tmp_path / "again.json"
    )
    assert again["macs/average"] == pytest.approx(result["after"]["macs/average"])


def test_matching_macs(config, checkpoint, tmp_path):
    out = tmp_path / "matched.pth"
    result = json_of(
        *(call_tool, "match_macs", config, checkpoint, "--out", out, "--data", "test"),
        out=tmp_path / "match.json",
    )
    assert result["target"] == 0.6
    assert result["macs/fraction"] == pytest.approx(0.6, abs=0.02)


def test_the_report(config, checkpoint, tmp_path):
    arguments = ("analyze_gates", config, checkpoint, "--out-dir", tmp_path / "report")
    result = json_of(
        *(call_tool, *arguments, "--split", "test", "--num-images", "9"), out=tmp_path / "a.json"
    )
    assert len(result["models"]) == 1
    assert (tmp_path / "report" / "report.html").is_file()


def test_the_export(config, checkpoint, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    result = json_of(
        *(call_tool, "export_onnx", config, checkpoint, tmp_path / "a.onnx", "--repeats", "1"),
        out=tmp_path / "export.json",
    )
    assert result["prediction"] == "argmax of logits"
    assert result["not_in_file"] == []


def test_the_benchmarks(config, checkpoint, tmp_path):
    common = ("--threads", "1", "--repeats", "2")
    inference = ("--checkpoint", checkpoint, "--no-compile", "--paths", "torch")
    times = json_of(
        *(call_tool, "benchmark_inference", config, *inference, *common), out=tmp_path / "i.json"
    )
    assert times["sliced_ms"] > 0
    times = json_of(call_tool, "benchmark_training", config, *common, out=tmp_path / "t.json")
    assert times["gated_ms"] > 0


def test_training(config, tmp_path):
    options = ("--cfg-options", "train_cfg.max_epochs=1", "train_cfg.val_interval=1")
    call_tool("train", config, "--work-dir", tmp_path / "run", *options)
    assert (tmp_path / "run" / "epoch_1.pth").is_file()


def test_another_length_scales_the_windows(config):
    scaled = scale_schedule(Config.fromfile(config), 8)
    assert scaled.custom_hooks[0]["windows"]["bas"]["end"] == 4


def test_batch_norm_of_several_processes_becomes_plain(config, monkeypatch):
    monkeypatch.setattr("mmbas.cli.launcher.get_device", lambda: "cpu")
    monkeypatch.setattr("torch.distributed.init_process_group", lambda *_, **__: None)
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    text = LAZY + "\nmodel.backbone.update(norm_cfg=dict(type=SyncBatchNorm))\n"
    path = config.with_name("sync.py")
    path.write_text(text, encoding="utf-8")
    loaded = Config.fromfile(path)
    assert loaded.model.backbone.norm_cfg.type is torch.nn.SyncBatchNorm
    join_processes(loaded, "pytorch")
    assert loaded.model.backbone.norm_cfg.type == "BN"
