"""Origin of a result: command, commit, versions, hardware."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

PACKAGES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    ("onedl-mmengine", "mmengine"),
    ("onedl-mmcv", "mmcv", "mmcv-lite"),
    ("onedl-mmpretrain", "mmpretrain"),
    ("onedl-mmsegmentation", "mmsegmentation"),
    "onnx",
    "onnxruntime",
    "openvino",
)


def describe() -> dict[str, Any]:
    """Commit, versions of the packages that matter, and hardware."""
    return {"commit": commit(), "versions": versions(), "hardware": hardware()}


def commit() -> str | None:
    """Git commit of this checkout, ``-dirty`` if files differ from it; None outside of git."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():  # installed, perhaps inside somebody else's checkout
        return None
    try:
        result = subprocess.run(
            [
                "git",
                "-C",
                str(root),
                "describe",
                "--always",
                "--dirty",
                "--abbrev=40",
                "--exclude=*",
            ],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


def versions() -> dict[str, str]:
    """Installed versions by distribution name, Python's included."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        for name in (package,) if isinstance(package, str) else package:
            try:
                found[name] = metadata.version(name)
            except metadata.PackageNotFoundError:
                continue
            break
    return found


def hardware() -> dict[str, Any]:
    """Processor, threads that torch uses, and GPUs."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"cpu": _cpu_name(), "threads": torch.get_num_threads(), "gpus": gpus}


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
