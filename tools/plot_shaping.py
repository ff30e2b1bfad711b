"""Draw what batch-shaping sees of a feature of a trained model (figure 1a of the paper).

The model runs over images of the config's data as in a test. The picture has the feature's values
and the prior's density, both CDFs, and arrows against the gradient of the loss.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from numpy.typing import NDArray
from torch import Tensor

from mmbas.analysis.plot_style import render_png
from mmbas.analysis.shaping_figure import shaping_figure
from mmbas.cli.command_line import (
    checked_checkpoint,
    config_parser,
    load_config,
    run_tool,
    with_origin,
    write_json,
    write_whole,
)
from mmbas.cli.data_sets import check_data_roots, data_loader
from mmbas.cli.trained_model import load_trained_model
from mmbas.compress.chosen_images import ChosenImages
from mmbas.gates import named_gates, record_gate_outputs
from mmbas.losses import LearnedPrior, Prior, match_modules, record_features, shaping_loss
from mmbas.registry import MODELS

MOST_VALUES = 5000


def parse_args() -> argparse.Namespace:
    run = "configs/resnet20_bas_digits.py work_dirs/quickstart/epoch_40.pth"
    parser = config_parser(
        __doc__,
        examples=[
            f"python tools/plot_shaping.py {run} --feature backbone.layer2.1.gate --channel 3 "
            "--out gate.png",
            f"python tools/plot_shaping.py {run} --feature backbone.layer1.0.bn1 "
            "--prior NormalPrior std=1.5 --out norm.png",
        ],
    )
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument(
        "--feature",
        required=True,
        metavar="MODULE",
        help="name of the module whose output is drawn; of a gate its probs are",
    )
    parser.add_argument("--channel", type=int, help="one channel of it; default: all together")
    parser.add_argument("--channel-dim", type=int, default=1, help="dimension of the channels (1)")
    parser.add_argument(
        "--prior",
        nargs="+",
        metavar="NAME KEY=VALUE",
        help="prior and its arguments; default: that of the config's loss for this feature",
    )
    parser.add_argument("--data", choices=["train", "val", "test"], default="test")
    parser.add_argument("--num-images", type=int, default=256, help="so many images (256)")
    parser.add_argument("--out", required=True, metavar="PNG", help="picture to write")
    return parser.parse_args()


def prior_of(args: argparse.Namespace, model: Any) -> Prior:
    """The prior on the command line, or that of the model's loss for the feature.

    Raises:
        ValueError: If there is neither.
    """
    if args.prior:
        name, *settings = args.prior
        pairs = [setting.partition("=") for setting in settings]
        arguments = {key: float(value) for key, _, value in pairs}
        built = MODELS.build(dict(type=f"mmbas.{name.removeprefix('mmbas.')}", **arguments))
        if isinstance(built, Prior):
            return built
        raise ValueError(f"expected the name of a prior, such as NormalPrior, but got {name}")
    found = _configured(args.feature, model)
    if found is None:
        raise ValueError(
            f"expected --prior, since no loss of the config shapes {args.feature}, but got none; "
            "add for example --prior NormalPrior mean=0 std=1"
        )
    return found


def _configured(feature: str, model: Any) -> Prior | None:
    """The prior of the model's loss that shapes a feature."""
    gates = list(named_gates(model))
    losses = list(getattr(model, "gate_losses", {}).values()) if feature in gates else []
    losses += [
        loss for loss in getattr(model, "shaping_losses", {}).values() if feature in loss.names
    ]
    for loss in losses:
        prior = getattr(loss, "prior", None)
        if isinstance(prior, LearnedPrior) and prior.shared == "layer":
            return prior.fixed((loss.names if feature not in gates else gates).index(feature))
        if isinstance(prior, Prior):
            return prior
    return None


def values_of(args: argparse.Namespace, config: Config, model: Any) -> NDArray[np.float64]:
    """Values of the feature over the images, evenly thinned out to a few thousand.

    Raises:
        ValueError: If the feature has no such channel.
    """
    images = ChosenImages(data_loader(config, args.data, mixed=True), args.num_images)
    with torch.no_grad():
        outputs = list(_outputs(args, model, images))
    channels = outputs[0].shape[1]
    if args.channel is None:
        values = torch.cat([each.flatten() for each in outputs])
    elif args.channel < channels:
        values = torch.cat([each[:, args.channel].flatten() for each in outputs])
    else:
        raise ValueError(f"expected --channel below {channels}, but got {args.channel}")
    thinned: Tensor = values[:: max(1, len(values) // MOST_VALUES)]
    return thinned.double().cpu().numpy()


def _outputs(args: argparse.Namespace, model: Any, images: ChosenImages) -> list[Tensor]:
    """Outputs of the feature, each with its channels second; probs of a gate."""
    outputs: list[Tensor] = []
    for batch in images:
        if args.feature in named_gates(model):
            with record_gate_outputs(model) as gates:
                model.test_step(batch)
            outputs += [output.probs for output in gates[args.feature]]
            continue
        names = match_modules(model, [args.feature])
        with record_features(model, names, lambda name, output: output.clone()) as features:
            model.test_step(batch)
        outputs += [each.movedim(args.channel_dim, 1) for each in features.values()]
    if not outputs:
        raise ValueError(f"expected {args.feature} to run in a test, but it did not")
    return outputs


def main() -> None:
    args = parse_args()
    config = load_config(args.config, args.cfg_options)
    checked_checkpoint(args.checkpoint)
    check_data_roots(config, [f"{args.data}_dataloader", "test_dataloader"])
    model = load_trained_model(config, args.checkpoint)
    prior = prior_of(args, model)
    values = values_of(args, config, model)
    loss = shaping_loss(torch.tensor(values)[:, None], prior).item()
    channel = "" if args.channel is None else f", channel {args.channel}"
    name = f"{args.feature}{channel}"
    write_whole(Path(args.out), render_png(lambda: shaping_figure(values, prior, name=name)))
    print(f"{name}: {len(values)} values, distance {loss:.4g} to {prior}; {args.out}")
    result = {
        "feature": args.feature,
        "channel": args.channel,
        "prior": repr(prior),
        "num_values": len(values),
        "mean": float(values.mean()),
        "std": float(values.std()),
        "loss": loss,
        "checkpoint": args.checkpoint,
    }
    write_json(args.out_json, with_origin(result, args.config))


if __name__ == "__main__":
    run_tool(main)
