"""Draw a small data set of street scenes in the folders and with the labels of Cityscapes.

With --coco it has boxes too, for MMDetection.
"""

from __future__ import annotations

import argparse
from typing import Any

from mmbas.cli.command_line import run_tool, with_origin, write_json

EXAMPLES = """examples:
  python tools/make_street_scenes.py data/street_scenes
  python tools/make_street_scenes.py data/large_scenes --num-train 200 --num-val 50 --size 256 512
  python tools/make_street_scenes.py data/street_boxes --coco
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", help="where the data set goes; it must hold no images yet")
    parser.add_argument("--num-train", type=int, default=48, help="training images (default 48)")
    parser.add_argument("--num-val", type=int, default=12, help="validation images (default 12)")
    parser.add_argument(
        "--size",
        nargs=2,
        type=int,
        default=(96, 192),
        metavar=("HEIGHT", "WIDTH"),
        help="in pixels (default 96 192)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="another seed, other streets (default 0)"
    )
    parser.add_argument(
        "--coco",
        action="store_true",
        help="also write boxes of cars, persons and poles: FOLDER/annotations/instances_*.json",
    )
    parser.add_argument("--out-json", metavar="FILE", help="write the result to FILE as JSON")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from mmbas.datasets.street_scenes import write_street_scenes

    paths = write_street_scenes(
        args.folder,
        num_train=args.num_train,
        num_val=args.num_val,
        size=tuple(args.size),
        seed=args.seed,
        coco=args.coco,
    )
    print(f"{len(paths)} images in {args.folder}")
    result: dict[str, Any] = {**vars(args), "num_images": len(paths)}
    del result["out_json"]
    write_json(args.out_json, with_origin(result, "none"))


if __name__ == "__main__":
    run_tool(main)
