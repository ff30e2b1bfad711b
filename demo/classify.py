"""Classify a picture with a network that comes with mmbas, and draw which channels it computed.

The picture is scaled to the size of the network's images. Digits are light on a dark ground.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

import mmbas
from mmbas.analysis.open_gates import open_gates_figure
from mmbas.analysis.plot_style import render_png
from mmbas.cli.command_line import checked_file, run_tool, write_whole
from mmbas.gates import named_gates
from mmbas.zoo import network_names

EXAMPLES = """examples:
  python demo/classify.py demo/digit.png
  python demo/classify.py demo/digit.png --network resnet20-bas-digits --out open_gates.png
"""


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("picture", help="a picture file")
    parser.add_argument(
        "--network",
        default="resnet20-bas-digits",
        help=f"one of {', '.join(network_names())} (resnet20-bas-digits)",
    )
    parser.add_argument(
        "--out", default="open_gates.png", metavar="PICTURE", help="what to draw (open_gates.png)"
    )
    return parser.parse_args()


def read_picture(path: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A picture in the given height and width, shape (H, W, 3), red first.

    Raises:
        ValueError: If the file is missing, or no picture.
    """
    try:
        picture = Image.open(checked_file(path, "a picture")).convert("RGB")
    except UnidentifiedImageError as error:
        raise ValueError(f"expected a picture at {path}, but the file is none") from error
    return np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR))


def classify(model: Any, image: NDArray[np.uint8]) -> Any:
    """The model's data sample for an image, shape (H, W, 3), red first."""
    channels = torch.from_numpy(image.copy()).permute(2, 0, 1)
    if model.data_preprocessor.to_rgb:  # trained on images that have blue first
        channels = channels.flip(0)
    (sample,) = model.test_step(dict(inputs=[channels]))
    return sample


def main() -> None:
    args = parse_args()
    model: Any = mmbas.load(args.network)
    image = read_picture(args.picture, model.dataset_meta["image_size"])
    sample = classify(model, image)
    scores = sample.pred_score
    classes = model.dataset_meta["classes"]
    for i in scores.argsort(descending=True)[:3].tolist():
        print(f"{classes[i]:<12}{scores[i]:.1%}")
    cost = f"{sample.macs / 1e6:.1f} M of {sample.dense_macs / 1e6:.1f} M MACs"
    print(f"{sample.open_fraction:.0%} of the gates are open, {cost}")
    layers = {name.removesuffix(".gate"): gate for name, gate in named_gates(model).items()}
    parts = np.split(
        sample.gates.numpy(), np.cumsum([gate.num_gates for gate in layers.values()])[:-1]
    )
    best = int(scores.argmax())
    title = f"{classes[best]} ({scores[best]:.0%}), {cost}"
    gates = {name.removeprefix("backbone."): g for name, g in zip(layers, parts, strict=True)}
    write_whole(args.out, render_png(lambda: open_gates_figure(image, gates, title=title)))
    print(f"open gates: {args.out}")


if __name__ == "__main__":
    run_tool(main)
