"""Sliced inference on the CPU for several networks, threads and open fractions, as one JSON file.

Each point is what tools/benchmark_inference.py measures, batch 1 at 224x224 with random gates,
fresh for every image. Points that the file already holds are not measured again.

    python benchmarks/inference_table.py --out-json benchmarks/FILE.json
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import MODELS, init_default_scope

from mmbas.cli.command_line import format_table, load_config, with_origin, write_json
from mmbas.measure.contenders import random_gate_batches
from mmbas.measure.inference_benchmark import Settings, measure

COLUMNS = ("dense_eager_ms", "dense_compiled_ms", "masked_ms", "sliced_ms", "macs_ratio")
RATIOS = ("time_ratio_eager", "time_ratio_compiled", "efficiency_eager", "efficiency_compiled")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--depths", nargs="+", type=int, default=[18, 34, 50])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--open-fractions", nargs="+", type=float, default=[0.3, 0.5, 0.7, 1.0])
    parser.add_argument("--repeats", type=int, default=25)
    parser.add_argument("--out-json", required=True, metavar="FILE")
    return parser.parse_args()


def measure_point(depth: int, threads: int, open_fraction: float, repeats: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    path = f"configs/resnet{depth}_bas_imagenet.py"
    config = load_config(path)
    init_default_scope(config.default_scope)
    gated = MODELS.build(config.model).eval()
    batches = random_gate_batches(
        gated,
        (1, 3, 224, 224),
        open_fraction=open_fraction,
        vary=0.0 if open_fraction == 1 else 0.1,
    )
    settings = Settings(repeats=repeats, paths=("native", "torch"))
    result = measure(gated, list(itertools.islice(batches, repeats)), settings)
    point = {"depth": depth, "open_fraction": open_fraction, "repeats": repeats}
    return with_origin({**point, **result}, path)


def shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def main() -> None:
    args = parse_args()
    out = Path(args.out_json)
    points = json.loads(out.read_text(encoding="utf-8"))["points"] if out.exists() else []
    done = {(point["depth"], point["threads"], point["open_fraction"]) for point in points}
    for depth, threads, fraction in itertools.product(
        args.depths, args.threads, args.open_fractions
    ):
        if (depth, threads, fraction) in done:
            continue
        points.append(measure_point(depth, threads, fraction, args.repeats))
        write_json(args.out_json, {"points": points})
        print(f"ResNet-{depth}, {threads} threads, {fraction} open", flush=True)
    header = ["network", "threads", "open", *COLUMNS, *RATIOS, "torch_path_ms"]
    rows = [
        [
            f"ResNet-{point['depth']}",
            str(point["threads"]),
            str(point["open_fraction"]),
            *(shown(point[key]) for key in COLUMNS + RATIOS),
            f"{point['paths']['torch']['sliced_ms']:.3f}",
        ]
        for point in points
    ]
    print(format_table(header, rows))


if __name__ == "__main__":
    main()
