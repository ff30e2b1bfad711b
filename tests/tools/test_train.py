"""tools/train.py: trains, keeps what the options say, and refuses what it cannot do."""

import json
from unittest import mock

import pytest
import torch

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")

from helpers import (
    assert_help_shows_examples,
    assert_origin,
    call_tool,
    error_of,
    json_of,
    run_tool,
    write_config,
)
from mmengine.config import Config
from mmengine.runner import FlexibleRunner


def test_help_shows_examples():
    assert_help_shows_examples("train")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Result and work dir of one epoch without a schedule, so that all loss factors stay 1."""
    folder = tmp_path_factory.mktemp("train")
    hooks = "custom_hooks = [dict(type='mmbas.GateMonitorHook', interval=1)]"
    options = ["model.gate_losses.l0.loss_weight=0.5", "train_cfg.max_epochs=1"]
    arguments = ["--work-dir", folder / "run", "--cfg-options", *options]
    config = write_config(folder, hooks)
    return json_of(run_tool, "train", config, *arguments, out=folder / "train.json"), folder


def test_the_result_says_what_was_done(trained):
    result, folder = trained
    assert (result["iterations"], result["epochs"]) == (4, 1)
    assert result["work_dir"] == str(folder / "run")
    assert_origin(result, "train", folder / "tiny.py")


def test_the_work_dir_holds_checkpoint_config_and_log(trained):
    _, folder = trained
    run = folder / "run"
    assert (run / "last_checkpoint").read_text() == str(run / "epoch_1.pth")
    state = torch.load(run / "epoch_1.pth", map_location="cpu", weights_only=False)["state_dict"]
    gates = [key for key in state if key.endswith(".gate.fc2.bias")]
    assert len(gates) == 9
    # The bias starts at exactly 0; training has moved it.
    assert all(state[key].abs().max() > 0 for key in gates)

    kept = Config.fromfile(run / "tiny.py")
    assert kept.model.gate_losses.l0.loss_weight == 0.5
    assert kept.train_cfg.max_epochs == 1


def test_the_log_holds_losses_and_gates_of_each_iteration(trained):
    _, folder = trained
    (path,) = (folder / "run").glob("*/vis_data/scalars.json")
    rows = [row for row in map(json.loads, path.read_text().splitlines()) if "lr" in row]

    assert [row["iter"] for row in rows] == [1, 2, 3, 4]
    assert {row["gates/bas_factor"] for row in rows} == {1.0}
    assert {row["gates/l0_factor"] for row in rows} == {1.0}
    for row in rows:
        assert 0 < row["gates/open_fraction"] < 1
    # Gates start at an open probability of about 1/2: 9 layers times 1/2 times the new weight.
    assert rows[0]["loss_gate_l0"] == pytest.approx(9 * 0.5 * 0.5, rel=0.1)
    assert rows[0]["gates/open_fraction"] == pytest.approx(0.5, abs=0.1)
    # 336 gates whose probs lie around 1/2: F(1/2) = 0.4 under Beta(0.6, 0.4), ranks 1/9 ... 8/9.
    assert 0.75 * 336 * 0.04 < rows[0]["loss_bas"] < 0.75 * 336 * 0.1


def test_a_config_that_is_not_there_is_named(tmp_path):
    missing = tmp_path / "missing.py"
    error = error_of("train", missing, "--work-dir", tmp_path / "run")
    assert error == f"error: expected a config at {missing}, but there is no such file"
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_to_resume_from_that_is_not_there_is_named(tmp_path):
    missing = tmp_path / "missing.pth"
    config = write_config(tmp_path)
    error = error_of("train", config, "--work-dir", tmp_path / "run", "--resume", missing)
    assert error == f"error: expected a checkpoint at {missing}, but there is no such file"
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU takes the host's optimizer wrapper")
def test_mixed_precision_on_a_cpu_is_bfloat16(tmp_path):
    config = write_config(tmp_path, "train_cfg = dict(max_epochs=1)")
    call_tool("train", config, "--work-dir", tmp_path / "run", "--amp")
    written = Config.fromfile(tmp_path / "run" / config.name)
    assert written.optim_wrapper.type == "mmbas.BFloat16OptimWrapper"
    checkpoint = torch.load(tmp_path / "run" / "epoch_1.pth", weights_only=False)
    weights = [tensor for tensor in checkpoint["state_dict"].values() if tensor.is_floating_point()]
    assert all(weight.dtype == torch.float32 and weight.isfinite().all() for weight in weights)


def test_the_runner_that_fsdp_needs_is_chosen_by_the_config(tmp_path):
    lines = (
        'runner_type = "FlexibleRunner"\nstrategy = dict(type="SingleDeviceStrategy")\n'
        "train_cfg = dict(max_epochs=1, val_interval=2)"
    )
    run, out = tmp_path / "run", tmp_path / "train.json"
    arguments = [write_config(tmp_path, lines), "--work-dir", run]
    train = FlexibleRunner.train
    with mock.patch.object(FlexibleRunner, "train", autospec=True, side_effect=train) as called:
        result = json_of(call_tool, "train", *arguments, out=out)
    assert called.call_count == 1
    assert (result["epochs"], result["iterations"]) == (1, 4)
    assert (run / "epoch_1.pth").is_file()
