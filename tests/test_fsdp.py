"""Fully sharded training through mmengine's FlexibleRunner equals training with DDP.

``python tests/test_fsdp.py RANK FOLDER`` is one of the two processes: it writes what each case
logged, and the weights it ended with, to FOLDER/<case><RANK>.pt.
"""

from __future__ import annotations

import functools
import math
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from helpers import end_worker
from torch import Tensor

pytest.importorskip("mmengine._strategy", reason="this mmengine has no strategies")
if not dist.is_gloo_available():
    pytest.skip("needs gloo", allow_module_level=True)
if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 2):
    pytest.skip("FSDP on a CPU was not tried with torch 2.1", allow_module_level=True)

from hooks.runner_case import GATE_LOSSES, GatedModel, RandomImages
from mmengine.hooks import Hook
from mmengine.runner import FlexibleRunner

from mmbas.blocks import GatedBasicBlock

STEPS, BATCH = 3, 2
BY_BLOCK = functools.partial(
    torch.distributed.fsdp.wrap.transformer_auto_wrap_policy,
    transformer_layer_cls={GatedBasicBlock},
)
CASES: dict[str, dict[str, Any] | None] = {
    "ddp": None,
    "whole": dict(use_orig_params=True),
    "whole_flat": dict(use_orig_params=False),
    "by_block": dict(use_orig_params=True, auto_wrap_policy=BY_BLOCK),
    "by_block_flat": dict(use_orig_params=False, auto_wrap_policy=BY_BLOCK),
}
HOOKS = [
    dict(
        type="mmbas.GateLossScheduleHook",
        by_epoch=False,
        windows=dict(
            bas=dict(begin=0, end=STEPS, start_factor=1.0, end_factor=0.25),
            l0=dict(begin=1, end=2, start_factor=0.0, end_factor=1.0),
        ),
    ),
    dict(type="mmbas.GateMonitorHook", interval=1),
]


class Recorder(Hook):
    """Losses of this process and what the hooks reported, by iteration."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        scalars = runner.message_hub.log_scalars
        shown = {
            key: float(scalars[key].current()) for key in scalars if key.startswith("train/gates/")
        }
        self.rows.append({**{key: value.item() for key, value in outputs.items()}, **shown})


def whole_weights(model: Any) -> dict[str, Tensor]:
    """Every weight of the unsharded network, in both processes."""
    fsdp = torch.distributed.fsdp
    if not isinstance(model, fsdp.FullyShardedDataParallel):
        return {key: value.clone() for key, value in model.module.state_dict().items()}
    with fsdp.FullyShardedDataParallel.state_dict_type(model, fsdp.StateDictType.FULL_STATE_DICT):
        return {key: value.clone() for key, value in model.state_dict().items()}


def train(case: str, folder: Path) -> dict[str, Any]:
    """Train a gated network on the CPU by one of mmengine's strategies."""
    torch.manual_seed(0)
    images = RandomImages(2 * BATCH * STEPS)
    model = GatedModel(gate_losses=GATE_LOSSES)
    model.backbone.init_weights()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    wrapper = CASES[case]
    if wrapper is None:
        kind, wrapper = (
            "DDP",
            dict(type="MMDistributedDataParallel", device_ids=None, broadcast_buffers=False),
        )
    else:
        kind, wrapper = "FSDP", dict(type="MMFullyShardedDataParallel", device_id="cpu", **wrapper)
    recorder = Recorder()
    runner = FlexibleRunner(
        model=model,
        work_dir=str(folder / case),
        experiment_name=case,
        train_dataloader=dict(
            dataset=images,
            batch_size=BATCH,
            sampler=dict(type="DefaultSampler", shuffle=False),
            collate_fn=dict(type="default_collate"),
        ),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.05, momentum=0.9)),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        strategy=dict(type=f"{kind}Strategy", model_wrapper=wrapper),
        launcher="pytorch",
        default_hooks=dict(checkpoint=None),
        custom_hooks=[*HOOKS, recorder],
        randomness=dict(seed=3),
        log_level="WARNING",
    )
    # Noise would not differ either, but a gate whose logit rounding turns over would.
    with mock.patch("mmbas.gates.binary_concrete.logistic_noise_like", torch.zeros_like):
        runner.train()
    sizes = sum(p.numel() for p in runner.model.parameters())
    return dict(
        rows=recorder.rows, before=before, weights=whole_weights(runner.model), num_own=sizes
    )


def worker(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=2)
    for case in CASES:
        torch.save(train(case, folder), folder / f"{case}{rank}.pt")
    end_worker()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """By case what both processes saw."""
    folder = tmp_path_factory.mktemp("fsdp")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    fixed = dict(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, WORLD_SIZE="2", OMP_NUM_THREADS="1")
    environment = {**os.environ, **fixed, "PYTHONPATH": os.pathsep.join(sys.path)}
    # FSDP prefers an accelerator where there is one.
    environment["CUDA_VISIBLE_DEVICES"] = ""
    workers = [
        subprocess.Popen(
            [sys.executable, __file__, str(rank), str(folder)],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=600) for process in workers] == [0, 0]
    return {case: [torch.load(folder / f"{case}{rank}.pt") for rank in range(2)] for case in CASES}


@pytest.mark.parametrize("case", sorted(set(CASES) - {"ddp"}))
def test_sharded_training_is_that_of_ddp(results, case):
    for actual, expected in zip(results[case], results["ddp"], strict=True):
        assert len(actual["rows"]) == len(expected["rows"]) == STEPS
        for row, wanted in zip(actual["rows"], expected["rows"], strict=True):
            assert all(math.isfinite(value) for value in row.values())
            assert row == pytest.approx(wanted, rel=1e-4)
        for key, value in expected["weights"].items():
            torch.testing.assert_close(actual["weights"][key], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", sorted(CASES))
def test_both_processes_end_with_one_network_that_moved(results, case):
    first, second = results[case]
    assert [row["loss"] for row in first["rows"]] != [row["loss"] for row in second["rows"]]
    trained = [key for key in first["before"] if not key.split(".")[-1].startswith(("run", "num"))]
    for key in trained:
        assert torch.equal(first["weights"][key], second["weights"][key]), key
    gates = [key for key in trained if ".gate." in key]
    assert len(gates) == 45
    for key in gates:
        assert not torch.equal(first["weights"][key], first["before"][key]), key


@pytest.mark.parametrize("case", sorted(set(CASES) - {"ddp"}))
def test_each_process_holds_half_of_the_parameters(results, case):
    whole = results["ddp"][0]["num_own"]
    own = [result["num_own"] for result in results[case]]
    assert sum(own) == pytest.approx(whole, rel=0.01)
    assert max(own) < 0.6 * whole


def test_hooks_schedule_and_report(results):
    for case in CASES:
        for result in results[case]:
            factors = [
                (row["train/gates/bas_factor"], row["train/gates/l0_factor"])
                for row in result["rows"]
            ]
            assert factors == [(1.0, 0.0), (0.75, 0.0), (0.5, 1.0)]
            for row in result["rows"]:
                assert 0.1 < row["train/gates/open_fraction"] < 0.9


if __name__ == "__main__":
    worker(int(sys.argv[1]), Path(sys.argv[2]))
