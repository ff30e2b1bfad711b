"""Write handwritten digits as class folders of pictures: a stand-in for your own images."""

from __future__ import annotations

import argparse

from mmbas.cli.command_line import run_tool, with_origin, write_json

EXAMPLES = """examples:
  python tools/make_digit_folders.py data/my_images
  python tools/make_digit_folders.py data/few_images --num-train 100 --num-test 50
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", help="where the images go; it must hold no pictures yet")
    parser.add_argument("--num-train", type=int, metavar="N", help="training images (all 1438)")
    parser.add_argument("--num-test", type=int, metavar="N", help="test images (all 359)")
    parser.add_argument("--out-json", metavar="FILE", help="write the result to FILE as JSON")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    from mmbas.datasets.digit_folders import write_digit_folders

    paths = write_digit_folders(args.folder, num_train=args.num_train, num_test=args.num_test)
    print(f"{len(paths)} images in {args.folder}")
    result = {"folder": args.folder, "num_images": len(paths)}
    write_json(args.out_json, with_origin(result, "none"))


if __name__ == "__main__":
    run_tool(main)
