"""The ImageNet experiments: what they build, table 1 of the paper, and their pipeline."""

import json

import numpy as np
import pytest
import torch

pytest.importorskip("mmpretrain")
pytest.importorskip("PIL")

from helpers import CONFIGS, call_tool, error_of, json_of
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, METRICS, MODELS, init_default_scope
from mmpretrain.structures import DataSample
from PIL import Image

EXPERIMENTS = sorted(path.name for path in CONFIGS.glob("*_imagenet.py"))
LOSS_NAMES = {"bas": "loss_bas", "l0": "loss_gate_l0", "target": "loss_target_macs"}

# Section 5.2, table 1: total parameters and MACs of the whole network, all gates open. The paper
# cuts decimals off: 21.797672 M parameters are its 21.79 M.
TABLE_1 = {
    "resnet18_imagenet": (11_689_512, 1_814_073_344),  # 11.69 M, 1.81 G
    "resnet34_imagenet": (21_797_672, 3_663_761_408),  # 21.79 M, 3.66 G
    "resnet50_imagenet": (25_557_032, 4_089_184_256),  # 25.55 M, 4.09 G
    "resnet34_bas_imagenet": (21_915_624, 3_663_875_072),  # 21.91 M; the paper has 3.68 G
    "resnet50_bas_imagenet": (25_895_848, 4_089_515_008),  # the paper has 26.72 M and 4.11 G
}


def load_config(name):
    config = Config.fromfile(CONFIGS / name)
    init_default_scope(config.default_scope)
    return config


def active_losses(config):
    entries = config.model.get("gate_losses") or {}
    return {key for key, entry in entries.items() if entry is not None}


def test_the_experiments_of_the_paper_are_there():
    depths = {"": (18, 34, 50), "_bas": (18, 34, 50), "_l0": (18, 34, 50), "_bas-fixed": (34, 50)}
    wanted = {f"resnet{d}{kind}_imagenet.py" for kind in depths for d in depths[kind]}
    assert wanted <= set(EXPERIMENTS)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_config_computes_losses_and_a_gradient_and_its_gates_do_not_decay(name):
    config = load_config(name)
    model = MODELS.build({**config.model, "data_preprocessor": dict(config.data_preprocessor)})
    inputs = [torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8) for _ in range(2)]
    samples = [DataSample().set_gt_label(i) for i in (0, 999)]
    batch = model.data_preprocessor(dict(inputs=inputs, data_samples=samples), training=True)
    losses = model.train()(**batch, mode="loss")
    total, _ = model.parse_losses(losses)
    total.backward()

    wanted = {LOSS_NAMES[key] for key in active_losses(config)}
    if "loss_target_macs" in wanted:
        wanted |= {"macs_fraction", "loss_distill"}
    assert set(losses) == {"loss_task" if wanted else "loss"} | wanted
    assert torch.isfinite(total)
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert f"resnet{model.backbone.depth}_" in name

    groups = build_optim_wrapper(model, config.optim_wrapper).optimizer.param_groups
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    for key, parameter in model.named_parameters():
        assert decays[id(parameter)] == (0.0 if ".gate." in key else 1e-4), key


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_hooks_and_metrics_build_and_windows_name_losses_of_the_model(name):
    config = load_config(name)
    for hook in config.get("custom_hooks", []):
        HOOKS.build(hook)
        assert set(hook.get("windows", {})) <= active_losses(config)
    prefixes = {METRICS.build(metric).prefix for metric in config.test_evaluator}
    assert prefixes == {"accuracy", "macs", "params", "gates"}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_header_tells_the_papers_number_ours_the_commands_and_the_knob(name):
    header = (CONFIGS / name).read_text(encoding="utf-8").split("_base_")[0]
    assert "# Paper: " in header
    assert "# Ours: not run." in header
    assert f"python tools/train.py configs/{name}\n" in header
    for num_gpus in (4, 8):
        command = header.split(f"bash tools/dist_train.sh configs/{name} {num_gpus} ")[1]
        assert f"train_dataloader.batch_size={256 // num_gpus}" in command
    knob = active_losses(load_config(name))
    assert bool(knob) == ("# Knob: " in header)


def test_the_training_is_the_papers():
    config = load_config("resnet50_bas_imagenet.py")
    optimizer, windows = config.optim_wrapper.optimizer, config.custom_hooks[0].windows
    assert (optimizer.type, optimizer.lr, optimizer.momentum) == ("SGD", 0.1, 0.9)
    assert optimizer.nesterov
    assert config.train_cfg.max_epochs == 150
    assert config.train_dataloader.batch_size == 256
    assert config.param_scheduler.milestones == [60, 90, 120]
    assert (windows.bas.begin, windows.bas.end) == (0, 20)
    assert (windows.bas.start_factor, windows.bas.end_factor) == (1.0, 0.0)
    assert (windows.l0.begin, windows.l0.end) == (30, 60)
    assert (windows.l0.start_factor, windows.l0.end_factor) == (0.0, 1.0)
    assert config.model.gate_losses.bas.loss_weight == 0.75
    fixed = load_config("resnet50_bas-fixed_imagenet.py")
    assert active_losses(fixed) == {"bas"}
    assert [hook.type for hook in fixed.custom_hooks] == ["mmbas.GateMonitorHook"]


@pytest.mark.parametrize("name", TABLE_1)
def test_static_columns_of_table_1(name, tmp_path):
    config = f"configs/{name}.py"
    result = json_of(call_tool, "count_macs", config, out=tmp_path / "macs.json")
    assert result["shape"] == [224, 224]
    assert (result["params"], result["dense_macs"]) == TABLE_1[name]
    assert result["open_params"] == result["params"]
    assert result["not_counted"] == []


def test_parameters_at_an_open_fraction(tmp_path):
    out = tmp_path / "macs.json"
    options = ["--open-fraction", "0.5", "--shape", "64"]
    run = call_tool("count_macs", "configs/resnet34_bas_imagenet.py", *options, "--out-json", out)
    # All 3x3 convolutions but none of stem, shortcuts and head stand beside one gate each.
    gated = sum(
        9 * (n_in + n_out) * n_out
        for channels, blocks in ((64, 3), (128, 4), (256, 6), (512, 3))
        for n_in, n_out in [(channels // 2 if channels > 64 else 64, channels)]
        + [(channels, channels)] * (blocks - 1)
    )
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result["open_params"] == 21_915_624 - gated // 2
    assert f"parameters used at 50% open: {result['open_params']:,}" in run.stdout


def picture(size, mode="RGB"):
    height, width = size
    noise = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """Photographs of several sizes and colour modes, listed as MMPretrain's ImageNet expects."""
    root = tmp_path_factory.mktemp("imagenet")
    kinds = [((60, 80), "RGB"), ((300, 200), "L"), ((230, 230), "CMYK"), ((90, 40), "RGB")]
    for split in ("train", "val"):
        lines = []
        for i, (size, mode) in enumerate(kinds):
            path = root / split / f"n0000000{i % 2}" / f"{split}_{i}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture(size, mode).save(path, "JPEG")
            lines.append(f"{path.parent.name}/{path.name} {998 + i % 2}\n")
        (root / "meta").mkdir(exist_ok=True)
        (root / "meta" / f"{split}.txt").write_text("".join(lines), encoding="utf-8")
    return root


def tiny_config(folder, root):
    """The experiment with 2 images a batch and nothing else changed but where things are."""
    path = folder / "tiny.py"
    loader = (
        f"batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(data_root='{root}')"
    )
    path.write_text(
        f"_base_ = '{CONFIGS}/resnet18_bas_imagenet.py'\n"
        f"train_dataloader = val_dataloader = test_dataloader = dict({loader})\n"
        "train_cfg = dict(max_epochs=1)\n"
        "default_hooks = dict(logger=dict(interval=1))\n"
        "visualizer = dict(vis_backends=[dict(type='LocalVisBackend')])\n",
        encoding="utf-8",
    )
    return path


def test_training_and_testing_on_files(imagenet, tmp_path):
    config = tiny_config(tmp_path, imagenet)
    trained = json_of(call_tool, "train", config, "--work-dir", tmp_path, out=tmp_path / "a.json")
    assert (trained["epochs"], trained["iterations"]) == (1, 2)

    checkpoint = tmp_path / "epoch_1.pth"
    arguments = ["--work-dir", tmp_path, "--save-macs", tmp_path / "macs.json"]
    result = json_of(call_tool, "test", config, checkpoint, *arguments, out=tmp_path / "b.json")
    assert set(result) >= {"accuracy/top1", "accuracy/top5", "gates/conditional"}
    assert result["macs/dense"] == 1_814_127_616
    assert 0 < result["macs/average"] <= result["macs/dense"]
    assert result["params/dense"] == 11_745_960
    assert 0 < result["params/average"] <= result["params/dense"]
    rows = json.loads((tmp_path / "macs.json").read_text(encoding="utf-8"))
    assert [row["img_path"].rsplit("/")[-1] for row in rows] == [f"val_{i}.JPEG" for i in range(4)]

    broken = imagenet / "val" / "n00000000" / "val_0.JPEG"
    data = broken.read_bytes()
    try:
        broken.write_bytes(data[: len(data) // 2])
        error = error_of("test", config, checkpoint, "--work-dir", tmp_path)
    finally:
        broken.write_bytes(data)
    assert f"expected a whole image in {broken}" in error
