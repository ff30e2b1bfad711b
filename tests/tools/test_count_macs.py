"""tools/count_macs.py: closed forms of He et al.'s CIFAR networks, and what was not understood."""

import pytest

pytest.importorskip("mmpretrain")

from helpers import (
    ROOT,
    assert_help_shows_examples,
    assert_origin,
    call_tool,
    error_of,
    json_of,
    run_tool,
)
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

CONFIG = "configs/resnet20_bas_cifar10.py"
STAGES = [(16, 32), (32, 16), (64, 8)]  # channels, height = width of the feature map


def closed_form(depth: int) -> dict[str, int]:
    """MACs by hand: convolutions, classifier, and a hidden layer of 16 neurons in every gate."""
    num_blocks = (depth - 2) // 6
    fixed, gated, gates = 3 * 16 * 9 * 32 * 32 + 64 * 10, 0, 0
    in_channels = 16
    for channels, size in STAGES:
        for _ in range(num_blocks):
            gated += (in_channels + channels) * channels * 9 * size**2
            gates += in_channels * 16 + 16 * channels
            in_channels = channels
    return dict(
        dense_macs=fixed + gated + gates, gate_macs=gates, closed_macs=fixed + gates, gated=gated
    )


def num_params(config: str) -> int:
    loaded = Config.fromfile(ROOT / config)
    init_default_scope(loaded.default_scope)
    return sum(p.numel() for p in MODELS.build(loaded.model).parameters())


def test_help_shows_examples():
    assert_help_shows_examples("count_macs")


def test_all_gates_open_cost_the_dense_network(tmp_path):
    result = json_of(run_tool, "count_macs", CONFIG, out=tmp_path / "macs.json")
    expected = closed_form(20)

    assert result["open_fraction"] == 1
    assert result["macs"] == result["dense_macs"]
    for key in ("dense_macs", "gate_macs", "closed_macs"):
        assert result[key] == expected[key], key
    assert result["dense_macs"] == pytest.approx(40.6e6, rel=1e-3)
    assert result["params"] == num_params(CONFIG)
    assert [part["name"] for part in result["parts"]] == [
        *("stem", "layer1", "layer2", "layer3", "head")
    ]
    for key in ("params", "dense_macs", "gate_macs", "closed_macs", "macs"):
        assert sum(part[key] for part in result["parts"]) == result[key], key
    assert result["not_counted"] == []
    assert result["shape"] == [32, 32]
    assert_origin(result, "count_macs", CONFIG)


def test_all_gates_closed_leave_stem_gates_and_classifier(tmp_path):
    out = tmp_path / "new" / "macs.json"
    result = json_of(call_tool, "count_macs", CONFIG, "--open-fraction", "0", out=out)
    assert result["open_fraction"] == 0
    assert result["macs"] == result["closed_macs"] == closed_form(20)["closed_macs"]


def test_a_quarter_open_on_a_larger_image_of_a_deeper_network(tmp_path):
    options = ["--open-fraction", "0.25", "--shape", "64", "--per-block"]
    depth = ["--cfg-options", "model.backbone.depth=32"]
    out = tmp_path / "macs.json"
    result = json_of(call_tool, "count_macs", CONFIG, *options, *depth, out=out)
    expected = closed_form(32)

    # Four times the pixels: four times the convolutions, but the gates see pooled channels.
    fixed = expected["closed_macs"] - expected["gate_macs"] - 64 * 10
    closed = 4 * fixed + 64 * 10 + expected["gate_macs"]
    assert result["shape"] == [64, 64]
    assert result["closed_macs"] == closed
    assert result["dense_macs"] == closed + 4 * expected["gated"]
    # Each convolution of a basic block is gated on one side, so its cost is linear in P.
    assert result["macs"] == closed + expected["gated"]
    assert len(result["parts"]) == 1 + 15 + 1


def test_a_plain_network_has_one_cost_and_the_table_shows_it():
    lines = call_tool("count_macs", "configs/resnet20_cifar10.py").stdout.splitlines()
    total = next(line for line in lines if line.startswith("total")).split()
    dense = closed_form(20)["dense_macs"] - closed_form(20)["gate_macs"]
    _, params, dense_macs, gate_macs, _, closed_macs, macs = total
    assert dense_macs == closed_macs == macs == f"{dense:,}"
    assert f"{dense / 1e6:.1f}" == "40.6"
    assert gate_macs == "0"
    assert params == f"{num_params('configs/resnet20_cifar10.py'):,}"


def test_an_open_fraction_out_of_range_is_refused(tmp_path):
    out = tmp_path / "macs.json"
    error = error_of("count_macs", CONFIG, "--open-fraction", "1.5", "--out-json", out)
    assert error == "error: expected open_fraction in [0, 1], but got 1.5"
    assert not out.exists()


def test_a_path_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    error = error_of("count_macs", CONFIG, "--out-json", tmp_path / "file" / "macs.json")
    assert error.startswith("error: expected a path to read or write, but got ")
    assert str(tmp_path / "file") in error
