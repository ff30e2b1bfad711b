"""The two benchmarks: numbers of a tiny run agree with each other and with closed forms.

How long something takes is not tested, since other processes share the machine.
"""

import shutil

import pytest
import torch

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")

from helpers import (
    DIGITS,
    assert_help_shows_examples,
    assert_origin,
    call_tool,
    error_of,
    json_of,
    run_tool,
    write_checkpoint,
    write_config,
)
from mmengine.config import Config
from mmengine.runner import Runner

DENSE_MACS = 40_551_040  # ResNet-20 without gates
GATE_MACS = 9_984
ALWAYS_COMPUTED = 442_368 + 640  # stem and classifier


@pytest.mark.parametrize("name", ["benchmark_training", "benchmark_inference"])
def test_help_shows_examples(name):
    assert_help_shows_examples(name)


def test_training_compares_gated_with_plain(tmp_path):
    arguments = ["--batch-size", "8", "--repeats", "2", "--threads", "1"]
    result = json_of(run_tool, "benchmark_training", DIGITS, *arguments, out=tmp_path / "out.json")

    assert_origin(result, "benchmark_training", DIGITS)
    assert result["step_ratio"] > 0
    assert result["gate_loss_share"] > 0
    assert result["memory_ratio"] == pytest.approx(
        result["gated_bytes"] / result["plain_bytes"], rel=1e-12
    )
    # More is held than without gates, by at least one map of 16 channels of the largest size.
    assert result["gated_bytes"] > result["plain_bytes"] + 8 * 16 * 32 * 32 * 4
    assert result["memory_ratio"] < 1.5
    settings = {key: result[key] for key in ("batch_size", "shape", "device", "threads", "repeats")}
    assert settings == dict(batch_size=8, shape=[32, 32], device="cpu", threads=1, repeats=2)


def test_training_of_a_plain_network_has_nothing_to_compare():
    config = "configs/resnet20_cifar10.py"
    error = error_of("benchmark_training", config)
    assert "error: expected a config with gates and gate losses, but got " in error
    assert error.endswith(config)


# The three lines of the README, in a config that trained a ResNet.
THREE_LINES = """
model = dict(
    type="mmbas.GatedImageClassifier",
    backbone=dict(type="mmbas.GatedResNet", depth=18, num_stages=4),
    gate_losses=dict(bas=dict(type="mmbas.BatchShapingLoss", loss_weight=0.75),
                     l0=dict(type="mmbas.GateL0Loss", loss_weight=0.05)),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(type="LinearClsHead", num_classes=7, in_channels=512,
              loss=dict(type="CrossEntropyLoss")))
default_scope = "mmpretrain"
"""
SEGMENTOR = """
model = dict(
    type="mmbas.GatedEncoderDecoder",
    backbone=dict(type="mmbas.GatedResNetCifar", depth=8),
    decode_head=dict(type="FCNHead", in_channels=64, in_index=0, channels=8, num_convs=1,
                     num_classes=5, align_corners=False),
    gate_losses=dict(target=dict(type="mmbas.TargetMACsLoss", target=0.5)),
    train_cfg=dict(), test_cfg=dict(mode="whole"))
default_scope = "mmseg"
"""


@pytest.mark.parametrize(("text", "host"), [(THREE_LINES, "mmpretrain"), (SEGMENTOR, "mmseg")])
def test_training_of_models_without_more_settings(tmp_path, text, host):
    pytest.importorskip(host)
    (tmp_path / "some.py").write_text(text, encoding="utf-8")
    arguments = ["--batch-size", "2", "--shape", "32", "48", "--repeats", "2", "--threads", "1"]
    out = tmp_path / "out.json"
    result = json_of(call_tool, "benchmark_training", tmp_path / "some.py", *arguments, out=out)
    assert result["step_ratio"] > 0
    assert result["gate_losses_ms"] > 0


INFERENCE_KEYS = {
    *("dense_eager_ms", "dense_compiled_ms", "masked_ms", "sliced_ms", "macs_ratio"),
    *("time_ratio_eager", "time_ratio_compiled", "efficiency_eager", "efficiency_compiled"),
    *("max_rel_diff", "path", "threads", "batch_size", "device", "dtype"),
    *("dense", "dense_best", "dense_best_ms", "ratio_best", "cpu_class"),
}


TORCH_ONLY = ["--libraries", "torch", "--precisions", "float32"]
FAST = ["--no-compile", "--threads", "1", *TORCH_ONLY]


def assert_consistent_timing(result):
    assert set(result) >= INFERENCE_KEYS
    assert result["dense_eager_ms"] > 0
    assert result["masked_ms"] > 0
    assert set(result["predict"]) == {"sliced_ms", "dense_eager_ms", "ratio"}
    assert min(result["predict"].values()) > 0
    for figures in (result, *result["paths"].values()):
        assert figures["sliced_ms"] > 0
        for kind in ("eager", "compiled"):
            assert (figures[f"time_ratio_{kind}"] is None) == (result[f"dense_{kind}_ms"] is None)
            if figures[f"time_ratio_{kind}"] is not None:
                assert figures[f"efficiency_{kind}"] == pytest.approx(
                    figures[f"time_ratio_{kind}"] / result["macs_ratio"], rel=1e-9
                )
        assert 0 <= figures["max_rel_diff"] < 1e-4
    assert result["paths"][result["path"]]["sliced_ms"] == result["sliced_ms"]
    assert set(result["paths"]) <= {"native", "torch"}
    assert (result["device"], result["dtype"], result["threads"]) == ("cpu", "float32", 1)


def test_inference_with_all_gates_open_costs_the_dense_network_and_its_gates(tmp_path):
    gates = ["--open-fraction", "1", "--vary", "0"]
    arguments = [*gates, *FAST, "--batch-size", "2", "--repeats", "2"]
    result = json_of(
        call_tool, "benchmark_inference", DIGITS, *arguments, out=tmp_path / "out.json"
    )

    assert_consistent_timing(result)
    assert_origin(result, "benchmark_inference", DIGITS)
    assert result["macs_ratio"] == pytest.approx((DENSE_MACS + GATE_MACS) / DENSE_MACS, rel=1e-12)
    assert (result["batch_size"], result["shape"], result["repeats"]) == (2, [32, 32], 2)


def test_inference_with_half_of_the_gates_open_costs_half_of_what_is_gated(tmp_path):
    gates = ["--open-fraction", "0.5", "--vary", "0.2"]
    arguments = [*gates, *FAST, "--batch-size", "8", "--repeats", "3"]
    result = json_of(
        call_tool, "benchmark_inference", DIGITS, *arguments, out=tmp_path / "out.json"
    )

    assert_consistent_timing(result)
    fixed = (ALWAYS_COMPUTED + GATE_MACS) / DENSE_MACS
    half = fixed + 0.5 * (1 - ALWAYS_COMPUTED / DENSE_MACS)
    # 24 images with 9 layers: the mean open fraction strays by about 0.12 / sqrt(24 * 9).
    assert result["macs_ratio"] == pytest.approx(half, abs=0.05)


def test_inference_with_a_checkpoint_lets_its_gates_decide_on_the_test_images(tmp_path):
    config, checkpoint = write_config(tmp_path), tmp_path / "untrained.pth"
    model = write_checkpoint(config, checkpoint)
    arguments = ["--checkpoint", checkpoint, *FAST, "--batch-size", "10", "--repeats", "4"]
    result = json_of(run_tool, "benchmark_inference", config, *arguments, out=tmp_path / "out.json")

    loader = dict(Config.fromfile(config).test_dataloader, batch_size=40)
    (data,) = Runner.build_dataloader(loader)
    with torch.no_grad():
        macs = [sample.macs for sample in model.test_step(data)]
    assert_consistent_timing(result)
    assert len(macs) == 40
    assert result["macs_ratio"] == pytest.approx(sum(macs) / 40 / DENSE_MACS, rel=1e-6)


def test_inference_with_a_batch_of_more_images_than_there_are_is_refused(tmp_path):
    config, checkpoint = write_config(tmp_path), tmp_path / "untrained.pth"
    write_checkpoint(config, checkpoint)
    arguments = ["--checkpoint", checkpoint, *FAST, "--batch-size", "41"]
    error = error_of("benchmark_inference", config, *arguments)
    assert error == "error: expected at least 41 test images for a batch, but got 40"


def test_inference_in_bfloat16_leaves_out_the_path_that_cannot(tmp_path):
    arguments = ["--open-fraction", "0.5", *FAST, "--repeats", "2", "--dtype", "bfloat16"]
    result = json_of(
        call_tool, "benchmark_inference", DIGITS, *arguments, out=tmp_path / "out.json"
    )
    assert result["dtype"] == "bfloat16"
    assert "torch" in result["paths"]
    assert ("native" in result["paths"]) != ("native" in result["left_out"])
    assert result["dense_eager_ms"] == rows_by_name(result)["torch eager bfloat16"]["ms"]
    # Rounded alike on a CPU with matrix units for bfloat16, a few of its 8 bits apart on others.
    for figures in result["paths"].values():
        assert 0 <= figures["max_rel_diff"] < 0.05


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_stages_share_the_macs_of_the_network(tmp_path, dtype):
    gates = ["--open-fraction", "0.5", "--vary", "0.4"]
    arguments = [*gates, *FAST, "--repeats", "2", "--per-stage", "--paths", "torch"]
    arguments += ["--dtype", dtype]
    result = json_of(
        call_tool, "benchmark_inference", DIGITS, *arguments, out=tmp_path / "out.json"
    )
    rows = result["per_stage"]
    assert [row["stage"] for row in rows] == ["stem and layer1", "layer2", "layer3"]
    assert all(set(row) >= {"dense_eager_ms", "masked_ms", "torch_ms"} for row in rows)
    # Dense MACs of the three stages and the classifier; the images and gates are the same ones.
    dense = [442_368 + 6 * 2_359_296, 1_179_648 + 5 * 2_359_296, 1_179_648 + 5 * 2_359_296]
    total = sum(row["macs_ratio"] * macs for row, macs in zip(rows, dense, strict=True)) + 640
    assert total / DENSE_MACS == pytest.approx(result["macs_ratio"], rel=1e-9)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="there is no C++ compiler")
def test_compiled_dense_network_takes_part(tmp_path):
    arguments = ["--open-fraction", "0.5", "--threads", "1", "--repeats", "2", "--paths", "torch"]
    arguments += TORCH_ONLY
    result = json_of(run_tool, "benchmark_inference", DIGITS, *arguments, out=tmp_path / "out.json")
    assert result["dense_compiled_ms"] > 0
    assert result["efficiency_compiled"] > 0


def test_inference_is_compared_with_the_fastest_library_and_with_another_network(tmp_path):
    arguments = ["--open-fraction", "0.5", "--no-compile", "--threads", "1", "--repeats", "2"]
    arguments += ["--precisions", "float32", "bfloat16", "--paths", "torch"]
    arguments += ["--rival", "configs/resnet20_cifar10.py"]
    # In a process of its own: one that has loaded OpenVINO may die or err when it forks.
    result = json_of(run_tool, "benchmark_inference", DIGITS, *arguments, out=tmp_path / "out.json")
    assert result["rival"]["config"] == "configs/resnet20_cifar10.py"
    for each in (result, result["rival"]):
        rows = {row["name"]: row for row in each["dense"]}
        # What cannot run here is named, with the reason.
        prefix = "" if each is result else "rival "
        wanted = {
            f"{library} {precision}"
            for library in ("torch eager", "onnxruntime", "openvino")
            for precision in ("float32", "bfloat16")
        }
        left_out = {name.removeprefix(prefix) for name in result["left_out"]}
        assert wanted == set(rows) | (left_out & wanted)
        assert [row["ms"] for row in each["dense"]] == sorted(row["ms"] for row in rows.values())
        assert each["dense_best"] == each["dense"][0]["name"]
        assert each["dense_best_ms"] == rows[each["dense_best"]]["ms"]
        assert each["ratio_best"] == rows[each["dense_best"]]["ratio"] > 0
        for row in rows.values():
            assert row["name"] == f"{row['library']} {row['precision']}"
            assert row["version"]
            assert row["max_rel_diff"] < (1e-4 if row["precision"] == "float32" else 0.1)
    assert result["dense_eager_ms"] == rows_by_name(result)["torch eager float32"]["ms"]


def rows_by_name(result):
    return {row["name"]: row for row in result["dense"]}


NEW_MODEL = """
from mmengine.model import BaseModel
from mmengine.registry import MODELS

@MODELS.register_module(force=True)
class {name}(BaseModel):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = MODELS.build(backbone)

    def forward(self, images{arguments}):
        maps = self.backbone(images)
        return {result}
"""


@pytest.mark.parametrize(
    ("name", "arguments", "result", "message"),
    [
        ("Detector", "", "list(maps), list(maps)", "tuple of list"),
        ("Prompted", ", prompt", "maps", "missing 1 required positional argument: 'prompt'"),
        ("Named", "", "dict(maps=maps)", "but got dict"),
    ],
)
def test_networks_that_cannot_be_timed_are_one_line(tmp_path, name, arguments, result, message):
    module = tmp_path / "new_model.py"
    module.write_text(NEW_MODEL.format(name=name, arguments=arguments, result=result))
    config = tmp_path / "config.py"
    config.write_text(
        f"import runpy\nrunpy.run_path({str(module)!r})\ndel runpy\n"
        f"model = dict(type={name!r}, backbone=dict(type='mmbas.GatedResNetCifar', depth=20))\n"
    )
    options = ["--open-fraction", "0.5", "--shape", "32", "--repeats", "2"]
    error = error_of("benchmark_inference", config, *options, *FAST)
    assert error.startswith("error: expected a network")
    assert message in error


def test_a_network_that_cannot_be_sliced_is_one_line(tmp_path):
    norm = "norm_cfg=dict(type='GN', num_groups=4)"
    config = write_config(tmp_path, f"model = dict(backbone=dict({norm}))")
    error = error_of("benchmark_inference", config, "--open-fraction", "0.5", *FAST)
    assert error.startswith("error: expected a path that can run this network, but got none: ")
    assert error.count("GroupNorm") == 1


def test_a_network_without_gates_has_nothing_to_slice():
    error = error_of("benchmark_inference", "configs/resnet20_cifar10.py", "--open-fraction", "0.5")
    assert error == "error: expected a config with gates, but its network has none"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--open-fraction", "-0.1"], "expected --open-fraction in [0, 1], but got -0.1"),
        (["--checkpoint", "no.pth"], "expected a checkpoint at no.pth, but there is no such file"),
        (["--open-fraction", "1", "--batch-size", "0"], "expected --batch-size >= 1, but got 0"),
        (["--open-fraction", "1", "--repeats", "0"], "expected --repeats >= 1, but got 0"),
        (["--open-fraction", "1", "--threads", "0"], "expected --threads >= 1, but got 0"),
        (["--open-fraction", "1", "--vary", "-0.1"], "expected --vary >= 0, but got -0.1"),
        (
            ["--open-fraction", "1", "--shape", "0"],
            "expected --shape as one or two sizes >= 1, but got [0]",
        ),
    ],
)
def test_inference_refuses_what_it_cannot_measure(arguments, message):
    assert error_of("benchmark_inference", DIGITS, *arguments).endswith(f"error: {message}")


def test_reduction_halves_the_gated_convolutions(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    settings = ["--configs", DIGITS, "--size", "32", "--threads", "1", "--repeats", "1"]
    out = tmp_path / "out.json"
    (point,) = json_of(call_tool, "../benchmarks/reduction", *settings, out=out)["points"]

    assert (point["config"], point["threads"], point["size"]) == (DIGITS, 1, 32)
    assert point["command"].startswith("python benchmarks/reduction.py --configs")
    assert (point["num_gates"], point["num_removed"]) == (336, 168)
    macs = {name: figures["dense_macs"] for name, figures in point["networks"].items()}
    # Each gate network loses half of its last layer, 16 rows' weights.
    gates = GATE_MACS - 16 * 168
    half = ALWAYS_COMPUTED + gates + (DENSE_MACS - ALWAYS_COMPUTED) // 2
    assert macs == dict(plain=DENSE_MACS, conditional=DENSE_MACS + GATE_MACS, reduced=half)
    assert 0 <= point["max_rel_diff"] < 1e-4
    for runtime in ("onnx", "torch"):
        for name in ("plain", "conditional"):
            times = point[f"{runtime}_reduced_ms"], point[f"{runtime}_{name}_ms"]
            assert point[f"{runtime}_reduced_over_{name}"] == pytest.approx(times[0] / times[1])
