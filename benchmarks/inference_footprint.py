"""Memory and start of accelerated networks, each measured in a process of its own.

first call       accelerate() and one image with nothing compiled before, in a cache of its own
later processes  the same in a new process, which finds the compiled kernels
memory           the network's weights and the most memory of the process beyond them, from
                 accelerate() to the end of one image, beside the plain network in PyTorch in the
                 same precision
gated weights    memory of the convolutions that a gate switches, in that precision

    python benchmarks/inference_footprint.py --dtype bfloat16 --out-json FILE.json
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from mmbas.backbones import GatedResNet
from mmbas.backbones.description import describe
from mmbas.cli.command_line import format_table, run_tool, set_threads, with_origin, write_json
from mmbas.measure.cpu_class import cpu_class
from mmbas.sliced import accelerate
from mmbas.sliced.folding import folded

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
KINDS = ("sliced", "dense")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--depths", nargs="+", type=int, default=[34, 50], help="ResNets (34 50)")
    parser.add_argument("--size", type=int, default=224, help="image height and width (224)")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="(float32)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    parser.add_argument("--out-json", metavar="FILE")
    parser.add_argument("--only", choices=KINDS, help=argparse.SUPPRESS)  # in a process of its own
    return parser.parse_args()


def peak_bytes() -> int:
    """Most memory that this process has held."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("expected a line VmHWM in /proc/self/status, but got none")


def forget_peak() -> None:
    """Let :func:`peak_bytes` count from here on."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def gated_weight_bytes(model: GatedResNet, dtype: torch.dtype) -> int:
    """Memory of the convolutions with a gate at either side."""
    total = 0
    for block in describe(model).blocks:
        sides = [None, *block.gated, None]
        for conv, before, after in zip(block.convs, sides, sides[1:], strict=False):
            if before is not None or after is not None:
                total += conv.weight.numel() * dtype.itemsize
    return total


@torch.inference_mode()
def run_alone(args: argparse.Namespace) -> dict[str, Any]:
    """Build one network, run one image, and tell what it took."""
    dtype = DTYPES[args.dtype]
    torch.manual_seed(0)
    image = torch.randn(1, 3, args.size, args.size).to(dtype)
    torch.nn.functional.conv2d(image, torch.randn(8, 3, 3, 3).to(dtype))  # what all of torch needs
    gate = {} if args.only == "sliced" else {"gate": None}
    model = folded(GatedResNet(args.depths[0], out_indices=(3,), **gate).eval()).to(dtype)
    gated_bytes = gated_weight_bytes(model, dtype)
    own_bytes = sum(each.numel() * each.element_size() for each in model.parameters())
    gc.collect()
    forget_peak()
    before = peak_bytes()
    start = time.perf_counter()
    runs = accelerate(model, path="native") if args.only == "sliced" else model
    runs(image)
    return {
        "seconds": time.perf_counter() - start,
        "peak_bytes": own_bytes + peak_bytes() - before,
        "gated_weight_bytes": gated_bytes,
    }


def in_process(depth: int, kind: str, cache: str, args: argparse.Namespace) -> dict[str, Any]:
    """The result of :func:`run_alone` in a new process."""
    command = [sys.executable, __file__, "--depths", str(depth), "--only", kind]
    for name in ("size", "dtype", "threads"):
        command += [f"--{name}", str(getattr(args, name))]
    environment = {**os.environ, "XDG_CACHE_HOME": cache}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        command += ["--out-json", str(out)]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        result: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return result


def measure(depth: int, args: argparse.Namespace) -> dict[str, Any]:
    """One row: seconds and MB."""
    with tempfile.TemporaryDirectory() as cache:
        first = in_process(depth, "sliced", cache, args)
        later = in_process(depth, "sliced", cache, args)
        dense = in_process(depth, "dense", cache, args)
    return {
        "network": f"resnet{depth}",
        "first_call_s": first["seconds"],
        "later_process_s": later["seconds"],
        "sliced_mb": later["peak_bytes"] / 1e6,
        "dense_mb": dense["peak_bytes"] / 1e6,
        "gated_weights_mb": later["gated_weight_bytes"] / 1e6,
    }


def main() -> None:
    args = parse_args()
    set_threads(args.threads)
    if args.only:
        write_json(args.out_json, run_alone(args))
        return
    rows = [measure(depth, args) for depth in args.depths]
    header = ["", "first call, s", "later, s", "sliced, MB", "dense, MB", "gated weights, MB"]
    cells = [[f"{x:.1f}" if isinstance(x, float) else str(x) for x in row.values()] for row in rows]
    print(format_table(header, cells))
    result = {"dtype": args.dtype, "cpu_class": cpu_class(), "networks": rows}
    write_json(args.out_json, with_origin(result, "GatedResNet, random weights"))


if __name__ == "__main__":
    run_tool(main)
