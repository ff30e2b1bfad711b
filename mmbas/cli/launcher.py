"""Joins the processes that a job launcher started, with or without GPUs."""

from __future__ import annotations

import datetime
import os
from typing import Any

import torch.distributed as dist
from mmengine.config import Config
from mmengine.device import get_device

from mmbas.registry import type_name

# What each launcher calls RANK, WORLD_SIZE and LOCAL_RANK; torchrun sets those names themselves.
_VARIABLES = {
    "slurm": ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"),
    "mpi": ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
}


def join_processes(config: Config, launcher: str) -> None:
    """Let the runner of ``config`` work together with the processes that ``launcher`` started.

    With GPUs that is mmengine's work, by ``env_cfg.dist_cfg``, whose backend is NCCL in the
    configs. Without, mmengine fails, since it gives each process a GPU; so the processes are
    connected here, through gloo where the config says NCCL. SyncBN, which torch has for GPUs only,
    becomes BN, so that each process normalises its own images.

    Args:
        config: Its ``launcher`` is set.
        launcher: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.

    Raises:
        ValueError: If the launcher did not start this process.
    """
    config.launcher = launcher
    if launcher == "none" or get_device() != "cpu" or dist.is_initialized():
        return
    _set_variables(launcher)
    settings = (config.get("env_cfg") or {}).get("dist_cfg") or {}
    backend = settings.get("backend", "nccl")
    dist.init_process_group(
        "gloo" if backend == "nccl" else backend,
        timeout=datetime.timedelta(seconds=settings.get("timeout", 1800)),
    )
    # What mmengine would use, but for the number of a GPU.
    wrapper = config.get("model_wrapper_cfg") or dict(
        type="MMDistributedDataParallel",
        broadcast_buffers=False,
        find_unused_parameters=config.get("find_unused_parameters", False),
    )
    config.model_wrapper_cfg = {**wrapper, "device_ids": None}
    _replace_sync_bn(config.get("model"))


def _set_variables(launcher: str) -> None:
    """Set the environment variables that torch reads."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    sources = _VARIABLES.get(launcher, names)
    missing = [source for source in sources if source not in os.environ]
    if missing:
        raise ValueError(
            f"expected the launcher {launcher} to set {missing[0]}, but it is not set; start with "
            "tools/dist_train.sh or tools/slurm_train.sh, or without --launcher"
        )
    values = [os.environ[source] for source in sources]
    os.environ.update(zip(names, values, strict=True))
    os.environ.setdefault("MASTER_PORT", "29500")
    if "MASTER_ADDR" not in os.environ:
        if os.environ.get("SLURM_NNODES", "1") != "1":
            raise ValueError(
                "expected MASTER_ADDR, the name of the first of several machines, but it is not set"
            )
        os.environ["MASTER_ADDR"] = "127.0.0.1"


def _replace_sync_bn(settings: Any) -> None:
    """Name BN wherever nested dicts and lists name SyncBN, or hold its class."""
    if isinstance(settings, dict):
        if type_name(settings) in ("SyncBN", "SyncBatchNorm"):
            settings["type"] = "BN"
        settings = list(settings.values())
    if isinstance(settings, list | tuple):
        for value in settings:
            _replace_sync_bn(value)
