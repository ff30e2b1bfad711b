"""Several processes: every gated network trains, and the launch scripts give what one gives."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")

import ddp_worker
from helpers import ROOT, call_tool, json_of, write_config
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmbas.cli.launcher import join_processes

NUM_TEST_IMAGES = 41  # cannot be split evenly: one image is shown to both processes
CONFIG = f"""
train_cfg = dict(max_epochs=1, val_interval=1)
val_dataloader = dict(dataset=dict(indices={NUM_TEST_IMAGES}))
test_dataloader = dict(dataset=dict(indices={NUM_TEST_IMAGES}))
model = dict(gate_losses=dict(bas=dict(gather=True, queue_size=20)))
"""


def environment(**variables: str) -> dict[str, str]:
    """What a script sees; the python of the tests and a free port among it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    fixed = {"PYTHON": sys.executable, "PORT": port, "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    return {**os.environ, **fixed, **variables}


def run_script(name: str, *arguments: str | Path, env: dict[str, str], expect: int = 0) -> str:
    """What ``tools/<name>.sh`` prints; it is called from another folder than the project's."""
    command = [str(ROOT / "tools" / f"{name}.sh"), *map(str, arguments)]
    result = subprocess.run(
        command, cwd="/", env=env, capture_output=True, text=True, check=False, timeout=600
    )
    assert result.returncode == expect, result.stdout[-3000:] + result.stderr[-3000:]
    return result.stdout + result.stderr


@pytest.fixture(scope="module")
def ddp_folder(tmp_path_factory):
    """Where both processes of tests/ddp_worker.py wrote what they saw."""
    folder = tmp_path_factory.mktemp("ddp")
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        ddp_worker.write_plain_checkpoint(folder)
    processes = [
        subprocess.Popen(
            [sys.executable, ddp_worker.__file__, str(rank), str(folder)],
            env=environment(PYTHONPATH=os.pathsep.join(sys.path)),
            stdout=subprocess.DEVNULL,
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=600) for process in processes] == [0, 0]
    return folder


@pytest.fixture(scope="module")
def workers(ddp_folder):
    """What each process saw, by case."""
    return [json.loads((ddp_folder / f"rank{rank}.json").read_text()) for rank in range(2)]


@pytest.fixture(scope="module")
def recipes(ddp_folder):
    """Steps of the distilled case: in each of two processes, in one, and in one with half."""
    ranks = [torch.load(ddp_folder / f"recipe{rank}.pt") for rank in range(2)]
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        one, half = (ddp_worker.recipe_steps(ddp_folder, rows) for rows in (slice(4), slice(2)))
    return ranks, one, half


@pytest.mark.parametrize("case", sorted(set(ddp_worker.CASES) - {"unused"}))
def test_every_parameter_gets_a_gradient_in_two_processes(workers, case):
    first, second = (results[case] for results in workers)
    assert "error" not in first, first["error"]
    assert len(first["losses"]) == ddp_worker.STEPS
    # The processes saw other images and took the same step.
    assert first["losses"] != second["losses"]
    assert first["checksum"] == second["checksum"]
    assert first["trained"] > 40


def test_the_teacher_of_two_processes_stays_as_it_was(workers):
    for results in workers:
        assert results["distilled"]["changed_teacher"] == []
        for losses in results["distilled"]["losses"]:
            assert losses["loss_distill"] > 0
            expected = 100 * (losses["macs_fraction"] - ddp_worker.TARGET) ** 2
            assert losses["loss_target_macs"] == pytest.approx(expected, rel=1e-4)


def test_two_processes_draw_their_common_batch_to_the_target(workers):
    """Noise or not, the average MACs are those of all images, so every process logs the same."""
    first, second = (results["distilled"]["losses"] for results in workers)
    for step in range(ddp_worker.STEPS):
        for key in ("macs_fraction", "loss_target_macs", "loss_bas"):
            assert first[step][key] == pytest.approx(second[step][key], rel=1e-6)


def test_the_recipe_of_a_target_in_two_processes_is_that_of_one(recipes):
    ranks, one, half = recipes
    for step, expected in enumerate(one["logs"]):
        by_rank = [rank["logs"][step] for rank in ranks]
        for log in by_rank:
            for key in ("macs_fraction", "loss_target_macs", "loss_bas"):
                assert log[key] == pytest.approx(expected[key], rel=1e-6)
        for key in ("loss", "loss_distill", "loss_task"):
            mean = sum(log[key] for log in by_rank) / 2
            assert mean == pytest.approx(expected[key], rel=1e-6)
        # Not because the images were alike.
        assert abs(half["logs"][step]["macs_fraction"] - expected["macs_fraction"]) > 1e-4
        assert abs(by_rank[0]["loss_task"] - by_rank[1]["loss_task"]) > 1e-4
    # At first the student is the teacher, since new residual branches end with a zero.
    assert one["logs"][-1]["loss_distill"] > 1e-3
    for rank in ranks:
        for actual, wanted in zip(rank["gradients"], one["gradients"], strict=True):
            torch.testing.assert_close(actual, wanted, rtol=1e-5, atol=1e-6)
        for key, value in one["state"].items():
            torch.testing.assert_close(rank["state"][key], value, rtol=1e-6, atol=1e-7)


def test_closed_means_that_every_gate_was_closed(workers):
    for results in workers:
        assert results["closed"]["open_fraction"] == 0
        assert results["closed"]["losses"][0]["loss_gate_l0"] < 1e-8
        assert 0.3 < results["both"]["open_fraction"] < 0.7


def test_an_unused_parameter_would_be_noticed(workers):
    for results in workers:
        assert "Expected to have finished reduction" in results["unused"]["error"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Folder with a config and ``run``, the work dir of a training with two processes."""
    folder = tmp_path_factory.mktemp("dist")
    config = write_config(folder, CONFIG)
    out = folder / "train.json"
    arguments = [config, "2", "--work-dir", folder / "run", "--out-json", out]
    run_script("dist_train", *arguments, env=environment())
    return folder


def test_two_processes_share_an_epoch(trained):
    result = json.loads((trained / "train.json").read_text())
    assert (result["iterations"], result["epochs"]) == (2, 1)  # 32 images, 2 processes of 8
    checkpoint = torch.load(trained / "run" / "epoch_1.pth", weights_only=False)
    queue = checkpoint["state_dict"]["gate_losses.bas.queue._extra_state"]
    assert queue.shape == (20, 336)  # of 32 images that were gathered


@pytest.fixture(scope="module")
def tested(trained):
    """Metrics and table of two processes and of one, for the same checkpoint."""
    config, checkpoint = trained / "tiny.py", trained / "run" / "epoch_1.pth"
    two, one, table = trained / "two.json", trained / "one.json", trained / "table_two.json"
    options = ["--work-dir", trained / "test"]
    arguments = [*options, "--save-macs", table, "--out-json", two]
    run_script("dist_test", config, checkpoint, "2", *arguments, env=environment())
    options += ["--save-macs", trained / "table_one.json"]
    alone = json_of(call_tool, "test", config, checkpoint, *options, out=one)
    tables = [json.loads((trained / f"table_{n}.json").read_text()) for n in ("two", "one")]
    return json.loads(two.read_text()), alone, *tables


def test_metrics_of_two_processes_are_those_of_one(tested):
    two, one, _, _ = tested
    metrics = [key for key in one if key.startswith(("accuracy", "macs/", "gates/"))]
    assert len(metrics) >= 9
    assert {key: two[key] for key in metrics} == pytest.approx(
        {key: one[key] for key in metrics}, rel=1e-9
    )


def test_validation_while_training_is_the_test_of_the_checkpoint(trained, tested):
    """The statistics of normalisation, each process's own in training, were averaged before."""
    _, one, _, _ = tested
    (path,) = (trained / "run").glob("*/vis_data/scalars.json")
    validation = json.loads(path.read_text().splitlines()[-1])
    for key in ("accuracy/top1", "macs/average", "gates/always_on", "gates/conditional"):
        assert validation[key] == pytest.approx(one[key], rel=1e-6)


def test_the_table_of_two_processes_is_in_the_order_of_the_data_set(tested):
    _, _, two, one = tested
    assert len(two) == NUM_TEST_IMAGES
    assert len({row["macs"] for row in one}) > 10
    assert [row["macs"] for row in two] == pytest.approx([row["macs"] for row in one], rel=1e-9)


FAKE_SRUN = """#!{python}
# Writes its own options to {folder}/srun.txt and runs the command once for each task.
import os, subprocess, sys
command = next(i for i, word in enumerate(sys.argv[1:], 1) if not word.startswith("-"))
with open("{folder}/srun.txt", "w") as file:
    file.write("\\n".join(sys.argv[1:command]))
(tasks,) = (word.split("=")[1] for word in sys.argv if word.startswith("--ntasks="))
slurm = dict(SLURM_NTASKS=tasks, SLURM_NODELIST="here", SLURM_NNODES="1")
jobs = []
for rank in map(str, range(int(tasks))):
    slurm.update(SLURM_PROCID=rank, SLURM_LOCALID=rank)
    jobs.append(subprocess.Popen(sys.argv[command:], env={{**os.environ, **slurm}}))
sys.exit(max(job.wait() for job in jobs))
"""


def make_executable(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def slurm_environment(folder: Path, **variables: str) -> dict[str, str]:
    make_executable(folder / "srun", FAKE_SRUN.format(python=sys.executable, folder=folder))
    return environment(PATH=f"{folder}{os.pathsep}{os.environ['PATH']}", **variables)


@pytest.fixture
def echo(tmp_path):
    """Environment in which the Slurm scripts run a python that only says how it was called."""
    python = make_executable(
        tmp_path / "echo_python", '#!/bin/sh\necho "$SLURM_PROCID: $@ ($PYTHONPATH)"\n'
    )
    return slurm_environment(tmp_path, GPUS="2", PYTHON=str(python))


def test_slurm_train_asks_for_one_task_per_gpu(echo, tmp_path):
    run = ["part", "job", "some config.py", "work dir", "--amp"]
    called = run_script("slurm_train", *run, env={**echo, "SRUN_ARGS": "--time=1 --exclusive"})
    for rank in (0, 1):
        expected = f"-u {ROOT}/tools/train.py some config.py --launcher slurm --work-dir work dir"
        assert f"{rank}: {expected} --amp ({ROOT}" in called
    assert (tmp_path / "srun.txt").read_text().split("\n") == [
        "--partition=part",
        "--job-name=job",
        "--gres=gpu:2",
        "--ntasks=2",
        "--ntasks-per-node=2",
        "--cpus-per-task=5",
        "--kill-on-bad-exit=1",
        "--time=1",
        "--exclusive",
    ]


def test_slurm_scripts_pass_options_on(echo):
    called = run_script("slurm_train", "part", "job", "config.py", "--resume", env=echo)
    assert f"0: -u {ROOT}/tools/train.py config.py --launcher slurm --resume (" in called
    run = ["part", "job", "config.py", "epoch_1.pth", "--work-dir", "x"]
    called = run_script("slurm_test", *run, env=echo)
    expected = f"{ROOT}/tools/test.py config.py epoch_1.pth --launcher slurm --work-dir x ("
    assert f"1: -u {expected}" in called


def test_slurm_uses_eight_gpus_of_each_machine(echo, tmp_path):
    run_script("slurm_train", "part", "job", "config.py", env={**echo, "GPUS": "16"})
    options = (tmp_path / "srun.txt").read_text()
    assert "--gres=gpu:8\n--ntasks=16\n--ntasks-per-node=8\n" in options


@pytest.mark.parametrize("name", ["dist_train", "dist_test", "slurm_train", "slurm_test"])
def test_too_few_arguments_are_answered_with_the_usage(name):
    assert f"{name}.sh" in run_script(name, "one", env=environment(), expect=2)


@pytest.mark.slow
def test_slurm_trains_as_torchrun_does(trained):
    work_dir = trained / "slurm"
    env = slurm_environment(trained, GPUS="2")
    run_script("slurm_train", "part", "job", trained / "tiny.py", work_dir, env=env)
    slurm, torchrun = (
        torch.load(folder / "epoch_1.pth", weights_only=False)["state_dict"]
        for folder in (work_dir, trained / "run")
    )
    assert all(torch.equal(slurm[key], torchrun[key]) for key in torchrun)


def test_a_launcher_that_started_nothing_is_refused(monkeypatch):
    for name in ("RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    if torch.cuda.is_available():
        pytest.skip("with a GPU mmengine joins the processes")
    for launcher, variable in (("pytorch", "RANK"), ("slurm", "SLURM_PROCID")):
        with pytest.raises(ValueError, match=f"{launcher} to set {variable}"):
            join_processes(Config(), launcher)
    config = Config(dict(model=dict(norm_cfg=dict(type="SyncBN"))))
    join_processes(config, "none")
    assert config.launcher == "none"
    assert config.model.norm_cfg.type == "SyncBN"


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU mmengine joins the processes")
def test_without_a_gpu_gloo_connects_and_sync_bn_becomes_bn(monkeypatch):
    env = environment(SLURM_PROCID="0", SLURM_NTASKS="1", SLURM_LOCALID="0")
    for name in ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID", "MASTER_PORT"):
        monkeypatch.setenv(name, env[name])
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"):
        monkeypatch.setenv(name, "")  # restored afterwards
        monkeypatch.delenv(name)
    heads = [dict(norm_cfg=dict(type="SyncBN")), dict(norm_cfg=dict(type="GN"))]
    config = Config(
        dict(model=dict(decode_head=heads), env_cfg=dict(dist_cfg=dict(backend="nccl")))
    )
    join_processes(config, "slurm")
    try:
        assert (dist.get_backend(), dist.get_world_size()) == ("gloo", 1)
        assert [head.norm_cfg.type for head in config.model.decode_head] == ["BN", "GN"]
        assert config.model_wrapper_cfg.device_ids is None
        assert not config.model_wrapper_cfg.find_unused_parameters
    finally:
        dist.destroy_process_group()
