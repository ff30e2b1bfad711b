"""Time of each native kernel over the layers of real networks, beside the machine's roofline.

A step can be no faster than its multiply-accumulates at the machine's rate, nor than reading the
weights of its open channels at the memory's; the bound is the larger of the two. Both rates are
measured in the same turns for one thread, and the best ones count. One is that of the kernels' own
products on operands in the first-level cache. The other is that of reading as much memory as the
network's weights take. "of the bound" is the bound over the time: 1 would be perfect.

Gates open at random, exactly the given fraction of each layer, fresh for every image, in groups of
neighbouring channels where asked for. Steps of the same shape are one row.

    python benchmarks/kernel_roofline.py --dtype bfloat16 --groups 1 8 --out-json FILE.json
"""

from __future__ import annotations

import argparse
import re
import statistics
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmbas.backbones import GatedResNet
from mmbas.cli.command_line import format_table, run_tool, set_threads, with_origin, write_json
from mmbas.gates import named_gates
from mmbas.measure.cpu_class import cpu_class
from mmbas.sliced.folding import folded
from mmbas.sliced.native import NativeBackbone

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
CONV = re.compile(r"conv (\w+) (\d+)x\d+ (\d+)->(\d+)(?: \+ (\d+))?, (\d+)x(\d+)")


@dataclass(frozen=True)
class Machine:
    """The best rates of one machine: MACs and bytes per second."""

    macs_rate: float
    bytes_rate: float


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--depths", nargs="+", type=int, default=[34, 50], help="ResNets (34 50)")
    parser.add_argument("--size", type=int, default=224, help="image height and width (224)")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="(float32)")
    parser.add_argument("--open-fractions", nargs="+", type=float, default=[0.5, 1.0])
    parser.add_argument("--groups", nargs="+", type=int, default=[1], help="channels per decision")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (1)")
    parser.add_argument("--repeats", type=int, default=15, help="images (15)")
    parser.add_argument("--out-json", metavar="FILE")
    return parser.parse_args()


def open_logits(num_gates: int, fraction: float, group: int) -> Tensor:
    """Logits, shape (1, G), of random gates: ``fraction`` of the groups are open."""
    groups = -(-num_gates // group)
    logits = torch.full((groups,), -1.0)
    logits[torch.randperm(groups)[: round(fraction * groups)]] = 1.0
    return logits.repeat_interleave(group)[None, :num_gates].contiguous()


def forced_logits(model: GatedResNet, fraction: float, group: int) -> list[Tensor]:
    """Logits of each gate network; each convolution that it gates has the fraction by itself."""
    parts = 2 if model.depth >= 50 else 1
    return [
        torch.cat([open_logits(gate.num_gates // parts, fraction, group)] * parts, dim=1)
        for gate in named_gates(model).values()
    ]


def work_of(step: str, fraction: float, value_bytes: int) -> tuple[float, float] | None:
    """MACs of a convolution and bytes of its weights, open channels only; None for other steps."""
    found = CONV.match(step)
    if found is None:
        return None
    gated, kernel, inputs, outputs, shortcut, height, width = found.groups()
    opened = {"inputs": fraction, "outputs": fraction, "both": fraction**2}.get(gated, 1.0)
    weights = int(inputs) * int(outputs) * int(kernel) ** 2 * opened
    weights += int(shortcut or 0) * int(outputs)
    return weights * int(height) * int(width), weights * value_bytes


def measure(depth: int, fraction: float, group: int, args: argparse.Namespace) -> dict[str, Any]:
    """One network's rows: times are medians over images, in microseconds."""
    torch.manual_seed(0)
    dtype = DTYPES[args.dtype]
    model = folded(GatedResNet(depth, out_indices=(3,)).eval())
    backbone = NativeBackbone(model, dtype=dtype)
    image = torch.randn(1, 3, args.size, args.size).to(dtype)
    times: dict[str, list[float]] = defaultdict(list)
    rates = []
    for _ in range(args.repeats + 1):
        rates.append(backbone.roofline())
        sums: dict[str, float] = defaultdict(float)
        backbone(image, forced_logits(model, fraction, group))  # settles the caches
        steps = backbone.time_steps(image, forced_logits(model, fraction, group))
        for step, seconds in steps:
            sums[step] += seconds
        for step, seconds in sums.items():
            times[step].append(seconds)
    counts = {step: [each for each, _ in steps].count(step) for step in times}
    machine = Machine(max(macs for macs, _ in rates), max(num_bytes for _, num_bytes in rates))
    rows = []
    for step, seconds in times.items():
        median = statistics.median(seconds[1:]) / counts[step]  # the first one warms up
        rows.append(
            row_of(step, counts[step], median, work_of(step, fraction, dtype.itemsize), machine)
        )
    return {
        "depth": depth,
        "open_fraction": fraction,
        "group": group,
        "kernels": backbone.kernels,
        "peak_gmacs": machine.macs_rate / 1e9,
        "memory_gb": machine.bytes_rate / 1e9,
        "total_us": sum(row["us"] * row["count"] for row in rows),
        "bound_us": sum((row["bound_us"] or 0) * row["count"] for row in rows),
        "rows": rows,
    }


def row_of(
    step: str, count: int, seconds: float, work: tuple[float, float] | None, machine: Machine
) -> dict[str, Any]:
    """A row of the table; rates and bounds are those of convolutions only."""
    row: dict[str, Any] = {"step": step, "count": count, "us": seconds * 1e6}
    if work is None:
        return row | {"gmacs": None, "bound_us": None, "bound_by": None, "of_bound": None}
    macs, num_bytes = work
    compute, memory = macs / machine.macs_rate, num_bytes / machine.bytes_rate
    bound = max(compute, memory)
    return row | {
        "gmacs": macs / seconds / 1e9,
        "bound_us": bound * 1e6,
        "bound_by": "products" if compute > memory else "weights",
        "of_bound": bound / seconds,
    }


def print_result(result: dict[str, Any]) -> None:
    print(
        f"\nResNet-{result['depth']}, {result['open_fraction']} open in groups of "
        f"{result['group']}, kernels {result['kernels']}; machine: {result['peak_gmacs']:.0f} "
        f"GMAC/s, {result['memory_gb']:.1f} GB/s; steps {result['total_us']:.0f} us, bound "
        f"{result['bound_us']:.0f} us"
    )
    header = ["step", "count", "us", "GMAC/s", "bound, us", "by", "of the bound"]
    rows = [
        ["" if cell is None else shown(cell) for cell in row.values()] for row in result["rows"]
    ]
    print(format_table(header, rows))


def shown(cell: object) -> str:
    """A cell of the table."""
    return f"{cell:.3g}" if isinstance(cell, float) else str(cell)


@torch.inference_mode()
def main() -> None:
    args = parse_args()
    set_threads(args.threads)
    results = []
    for depth in args.depths:
        for fraction in args.open_fractions:
            for group in args.groups if fraction < 1 else args.groups[:1]:
                results.append(measure(depth, fraction, group, args))
                print_result(results[-1])
    result = {"dtype": args.dtype, "threads": args.threads, "size": args.size}
    result |= {"cpu_class": cpu_class(), "results": results}
    write_json(args.out_json, with_origin(result, "GatedResNet, random weights"))


if __name__ == "__main__":
    run_tool(main)
