"""Draw accuracy against average MACs: one line per method, and one of the best plain networks."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path

from mmbas.analysis.tradeoff import load_results, tradeoff_points
from mmbas.analysis.tradeoff_plot import draw_tradeoff, save_tradeoff
from mmbas.cli.command_line import run_tool, with_origin, write_json

EXAMPLES = """examples:
  python tools/plot_tradeoff.py results/cifar10-10k-20e/*.json --out tradeoff.png
  python tools/plot_tradeoff.py results/camvid-1500/*.json --relative --out tradeoff

A result is a JSON file of one run, as tools/reproduce.py writes it: name, method, dense, data,
macs/average, macs/fraction, and accuracy or mIoU. Runs of a method whose names differ in the ending
_seed0, _seed1, ... alone become one point, their mean, with bars from the lowest to the highest.
The runs with dense: true are plain networks, by which the gated ones are judged: give several, of
other depths or widths, for a line through the best of them.
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("results", nargs="+", type=Path, help="JSON files, one per run")
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        metavar="PICTURE",
        help="ending in .png or .svg; without an ending both are written",
    )
    parser.add_argument(
        "--relative", action="store_true", help="MACs as a share of the dense network's"
    )
    parser.add_argument("--out-json", metavar="FILE", help="write the points to FILE as JSON")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    results = load_results(args.results)
    points = tradeoff_points(results)
    if not any(point.dense for point in points):
        sys.stderr.write(
            "note: no plain network is among the results, so the picture does not show what a "
            "smaller one reaches at the same cost\n"
        )
    data, metric = results[0].data, results[0].metric
    figure = draw_tradeoff(points, data=data, metric=metric, relative=args.relative)
    for path in save_tradeoff(figure, args.out):
        print(f"{len(points)} points of {len(results)} runs in {path}")
    result = {"data": data, "metric": metric, "points": [asdict(point) for point in points]}
    write_json(args.out_json, with_origin(result, "none"))


if __name__ == "__main__":
    run_tool(main)
