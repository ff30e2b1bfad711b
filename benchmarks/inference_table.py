"""Gated networks beside the same and smaller ones without gates, as one JSON file and one table.

Each point is one run of tools/benchmark_inference.py in a process of its own, with random gates,
fresh for every image. Points that the file already holds are not measured again. What follows --
is handed on to that tool.

    python benchmarks/inference_table.py --networks resnet34 --out-json FILE.json -- --no-compile
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmbas.cli.command_line import write_json
from mmbas.measure.cpu_class import cpu_class

ROOT = Path(__file__).resolve().parents[1]
TOOL = "tools/benchmark_inference.py"


@dataclass(frozen=True)
class Network:
    """A gated network and what it is timed with.

    Attributes:
        config: Config of the gated network.
        shape: Height and width of the images.
        rival: Config of a smaller network, timed without gates beside it.
    """

    config: str
    shape: tuple[int, int]
    rival: str | None = None


NETWORKS = {
    "resnet20": Network("configs/resnet20_bas_cifar10.py", (32, 32)),
    "resnet32": Network("configs/resnet32_bas_cifar10.py", (32, 32), "configs/resnet20_cifar10.py"),
    "resnet18": Network("configs/resnet18_bas_imagenet.py", (224, 224)),
    "resnet34": Network(
        "configs/resnet34_bas_imagenet.py", (224, 224), "configs/resnet18_imagenet.py"
    ),
    "resnet50": Network(
        "configs/resnet50_bas_imagenet.py", (224, 224), "configs/resnet18_imagenet.py"
    ),
    "pspnet_r50": Network("configs/pspnet_r50_bas_cityscapes.py", (512, 1024)),
}

GROUP = "group"  # an option of the gates, not of the tool; files of before do not have it

# What tells points apart besides: name in the file, and the tool's option.
AXES = {
    "batch_size": "--batch-size",
    "threads": "--threads",
    "open_fraction": "--open-fraction",
    "dtype": "--dtype",
}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = ["resnet20", "resnet34", "resnet50"]
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=default)
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[1])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--open-fractions", nargs="+", type=float, default=[0.5, 1.0])
    parser.add_argument("--dtypes", nargs="+", default=["float32"])
    parser.add_argument(
        "--groups", nargs="+", type=int, default=[1], help="neighbouring channels per decision (1)"
    )
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out-json", required=True, metavar="FILE")
    parser.add_argument("--out-md", metavar="FILE", help="also write the table there")
    parser.add_argument("tool_arguments", nargs="*", help=f"after --: handed on to {TOOL}")
    return parser.parse_args()


def wanted_points(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Network and axes of each point."""
    axes = (args.networks, args.batch_sizes, args.threads, args.open_fractions, args.dtypes)
    for values in itertools.product(*axes, args.groups):
        yield dict(zip(("network", *AXES, GROUP), values, strict=True))


def measure(point: dict[str, Any], args: argparse.Namespace) -> dict[str, Any] | None:
    """Run the tool; None if it refuses, which it says itself."""
    network = NETWORKS[point["network"]]
    vary = 0.0 if point["open_fraction"] in (0, 1) else 0.1
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "point.json"
        command = [sys.executable, TOOL, network.config, "--shape", *map(str, network.shape)]
        command += ["--vary", str(vary), "--repeats", str(args.repeats), "--out-json", str(out)]
        for key, option in AXES.items():
            command += [option, str(point[key])]
        if network.rival:
            command += ["--rival", network.rival]
        if point[GROUP] > 1:
            command += ["--cfg-options", f"model.backbone.gate.group={point[GROUP]}"]
        done = subprocess.run([*command, *args.tool_arguments], cwd=ROOT, check=False)
        return {**json.loads(out.read_text("utf-8")), **point} if done.returncode == 0 else None


def identity(point: dict[str, Any]) -> tuple[Any, ...]:
    return (*(point[key] for key in ("network", *AXES)), point.get(GROUP, 1))


HEADER = [
    *("network", "batch", "threads", "open", "gated in", "group", "MAC ratio"),
    *("sliced, ms", "masked, ms"),
    *("best dense", "its ms", "sliced / it", "best dense float32", "its ms", "sliced / it"),
    *("rival", "its best", "its ms", "sliced / it"),
]


def row_of(point: dict[str, Any]) -> list[str]:
    """Cells of the table; an empty one is not measured."""
    float32 = [row for row in point["dense"] if row["precision"] == "float32"]
    rival = point.get("rival", {})
    cells = [
        *(point["network"], point["batch_size"], point["threads"], point["open_fraction"]),
        *(point["dtype"], point.get(GROUP, 1), point["macs_ratio"]),
        *(point["sliced_ms"], point["masked_ms"]),
        *(point["dense_best"], point["dense_best_ms"], point["ratio_best"]),
        *((float32[0][key] for key in ("library", "ms", "ratio")) if float32 else ("", "", "")),
        Path(rival.get("config", "")).stem,
        *(rival.get(key, "") for key in ("dense_best", "dense_best_ms", "ratio_best")),
    ]
    return [f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in cells]


def tables(points: list[dict[str, Any]]) -> str:
    """One table for each class of CPU, in Markdown."""
    lines = []
    for name in sorted({point["cpu_class"] for point in points}):
        rows = [row_of(point) for point in points if point["cpu_class"] == name]
        lines += [f"### CPU class `{name}`", ""]
        lines += ["| " + " | ".join(row) + " |" for row in (HEADER, ["---"] * len(HEADER), *rows)]
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    args = parse_args()
    out = Path(args.out_json)
    points = json.loads(out.read_text(encoding="utf-8"))["points"] if out.exists() else []
    done = {identity(point) for point in points if point["cpu_class"] == cpu_class()}
    for point in wanted_points(args):
        if identity(point) in done:
            continue
        print(" ".join(map(str, point.values())), flush=True)
        result = measure(point, args)
        if result is not None:
            points.append(result)
            write_json(args.out_json, {"points": points})
    print(tables(points))
    if args.out_md:
        Path(args.out_md).write_text(tables(points), encoding="utf-8")


if __name__ == "__main__":
    main()
