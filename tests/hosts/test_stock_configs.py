"""The hosts' own configs, with the lines of docs/drop-in.md, train and are tested."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")

import mmpretrain
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from printed_commands import blocks

SIZE = 32
PIPELINE = [dict(type="Resize", scale=(SIZE, SIZE)), dict(type="PackInputs")]


def stock(host, path):
    """A config that an installed host brings along; skips where there is none."""
    place = Path(host.__file__).parent / ".mim" / "configs" / path
    if not place.is_file():
        pytest.skip(f"this installation of {host.__name__} has no {path}")
    return Config.fromfile(place)


def snippet(sign):
    """What a snippet of docs/drop-in.md defines."""
    (block,) = (b for b in blocks() if b.text == "docs/drop-in.md" and sign in b.content)
    names = {}
    exec(compile(block.content, block.place, "exec"), names)
    return {key: value for key, value in names.items() if not key.startswith("__")}


def test_mmpretrains_config_trains_validates_and_tests_with_all_snippets(tmp_path):
    config = stock(mmpretrain, "resnet/resnet50_8xb32_in1k.py")
    config.merge_from_dict(snippet("mmbas.GatedImageClassifier"))
    hooks = snippet("GateLossScheduleHook")
    for key in ("val_evaluator", "test_evaluator"):
        config[key] = hooks.pop(key)
    config.merge_from_dict(hooks)
    for part in ("train", "val", "test"):
        loader = config[f"{part}_dataloader"]
        loader.dataset = dict(type="mmbas.Digits", split="train", indices=16, pipeline=PIPELINE)
        loader.update(batch_size=8, num_workers=0, persistent_workers=False)
    config.train_cfg.max_epochs = 1
    config.work_dir, config.experiment_name = str(tmp_path), tmp_path.name
    config.log_level = "ERROR"
    runner = Runner.from_cfg(config)
    runner.train()
    assert runner.iter == 2
    metrics = runner.test()
    assert {"accuracy/top1", "macs/fraction", "gates/conditional"} <= set(metrics)
    factors = {name: loss.factor for name, loss in runner.model.gate_losses.items()}
    assert factors == {"bas": pytest.approx(0.975), "l0": 0.0}  # iteration 1 of 2 x 20
    # The loss that the snippet adds is of the size of the task's.
    loss_bas, _ = runner.message_hub.get_scalar("train/loss_bas").data
    task, _ = runner.message_hub.get_scalar("train/loss_task").data
    assert loss_bas.max() < 10 * task.min()


def test_mmsegmentations_config_trains_an_iteration():
    mmseg = pytest.importorskip("mmseg")
    structures = pytest.importorskip("mmseg.structures")
    from mmengine.structures import PixelData

    config = stock(mmseg, "pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py")
    backbone = dict(type="mmbas.GatedResNet", deep_stem=True)  # was: ResNetV1c
    losses = dict(bas=dict(type="mmbas.BatchShapingLoss", reduction="layer_mean"))
    three = dict(type="mmbas.GatedEncoderDecoder", backbone=backbone, gate_losses=losses)
    config.merge_from_dict(dict(model=three))
    assert config.model.pretrained  # it stays, and is looked for when weights are initialised
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build(config.model)
        assert model.backbone.init_cfg["checkpoint"] == config.model.pretrained
        labels = torch.randint(0, 19, (1, 64, 64))
        samples = [
            structures.SegDataSample(
                gt_sem_seg=PixelData(data=labels), metainfo=dict(img_shape=(64, 64))
            )
            for _ in range(2)
        ]
        images = [torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8) for _ in range(2)]
        config.model.data_preprocessor.size = (64, 64)
        data = dict(inputs=images, data_samples=samples)
        model.data_preprocessor.size = (64, 64)
        optimizer = build_optim_wrapper(model, config.optim_wrapper)
        values = model.train_step(data, optimizer)
    assert {"loss", "loss_bas", "decode.loss_ce", "aux.loss_ce"} <= set(values)
