"""tools/match_macs.py: the written checkpoint costs what was asked for; nothing else differs."""

import pytest

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")

import torch
from helpers import (
    assert_help_shows_examples,
    assert_origin,
    call_tool,
    error_of,
    json_of,
    run_tool,
    write_checkpoint,
    write_config,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("match_macs")


@pytest.fixture(scope="module")
def config(folder):
    return write_config(folder)


@pytest.fixture(scope="module")
def checkpoint(folder, config):
    path = folder / "gated.pth"
    write_checkpoint(config, path)
    return path


def test_help_shows_examples():
    assert_help_shows_examples("match_macs")


@pytest.mark.parametrize("target", [0.45, 0.85])
def test_the_written_checkpoint_reaches_the_target(config, checkpoint, tmp_path, target):
    out = tmp_path / "made" / "matched.pth"
    result = json_of(
        *(run_tool, "match_macs", config, checkpoint, "--target", target, "--out", out),
        *("--data", "test"),
        out=tmp_path / "result.json",
    )
    assert abs(result["before"]["macs/fraction"] - target) > 0.02
    assert result["macs/fraction"] == pytest.approx(target, abs=0.01)
    assert result["after"]["macs/fraction"] == pytest.approx(result["macs/fraction"])
    assert_origin(result, "match_macs", config)
    tested = json_of(call_tool, "test", config, out, out=tmp_path / "test.json")
    assert tested["macs/fraction"] == pytest.approx(result["macs/fraction"])
    before = torch.load(checkpoint, weights_only=False)["state_dict"]
    after = torch.load(out, weights_only=False)["state_dict"]
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        shift = result["shift"] if name.endswith("gate.fc2.bias") else 0
        torch.testing.assert_close(after[name], tensor + shift)


def test_the_target_of_the_config_is_the_default(config, checkpoint, tmp_path):
    arguments = ("match_macs", config, checkpoint, "--out", tmp_path / "matched.pth")
    assert "expected --target, since the config has no" in error_of(*arguments)
    loss = "model.gate_losses.target"
    options = [f"{loss}.type=mmbas.TargetMACsLoss", f"{loss}.target=0.7"]
    result = json_of(
        *(call_tool, *arguments, "--data", "test", "--cfg-options", *options),
        out=tmp_path / "result.json",
    )
    assert result["target"] == 0.7
    assert result["macs/fraction"] == pytest.approx(0.7, abs=0.01)


def test_wrong_input_is_one_line(config, checkpoint, tmp_path):
    arguments = ("match_macs", config, checkpoint, "--out", tmp_path / "matched.pth", "--target")
    assert "expected target in (0, 1), but got 60" in error_of(*arguments, "60")
    assert "which these gates can reach" in error_of(*arguments, "0.001")
    assert "but none was selected" in error_of(*arguments, "0.5", "--num-images", "0")
    assert not (tmp_path / "matched.pth").exists()
