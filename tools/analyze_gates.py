"""Draw what the gates of trained models do: the paper's figures 1b, 4, 5, 6, 7 and an HTML report.

The models run over one data set, without noise, as in a test. OUT_DIR then holds report.html, one
self-contained page, its pictures as PNG, and gates.json with all numbers.
"""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS, init_default_scope
from mmengine.runner import Runner
from rich.progress import track
from torch import nn

from mmbas.analysis import (
    DataSetImages,
    GateProfile,
    is_bgr,
    profile_gates,
    report_sections,
    write_report,
)
from mmbas.analysis.difficulty import difficulty
from mmbas.analysis.gate_profile import layer_name
from mmbas.analysis.report_page import json_ready, overview
from mmbas.cli.command_line import (
    build_model,
    checked_checkpoint,
    config_parser,
    counted,
    load_config,
    run_tool,
    with_origin,
    write_json,
)
from mmbas.cli.data_sets import (
    ImageSubset,
    as_list,
    check_class_names,
    check_data_roots,
    class_names,
    class_names_asked_for,
    metainfo_of,
)
from mmbas.cli.trained_model import load_trained_model
from mmbas.gates import named_gates
from mmbas.registry import METRICS, type_name


@dataclass(frozen=True)
class Model:
    """A model of the report: its name, config, and checkpoint."""

    name: str
    config: str
    checkpoint: str


def parse_args() -> argparse.Namespace:
    digits = "configs/resnet20_bas_digits.py"
    parser = config_parser(
        __doc__,
        examples=[
            f"python tools/analyze_gates.py {digits} work_dirs/quickstart/epoch_40.pth "
            "--out-dir gates",
            f"python tools/analyze_gates.py {digits} bas/epoch_40.pth l0/epoch_40.pth "
            "--names BAS L0 --over-training bas/epoch_*.pth --out-dir gates",
            "python tools/analyze_gates.py configs/resnet20_bas_cifar10.py bas20.pth "
            "--compare configs/resnet32_bas_cifar10.py bas32.pth --out-dir gates",
        ],
    )
    parser.add_argument(
        "checkpoints",
        nargs="+",
        metavar="checkpoint",
        help="checkpoints of the config; figure 5 compares them, the others show the first",
    )
    parser.add_argument("--out-dir", required=True, help="folder of the report")
    parser.add_argument(
        "--compare",
        nargs=2,
        action="append",
        default=[],
        metavar=("CONFIG", "CHECKPOINT"),
        help="one more model, of another config, on the data of the first; may be repeated",
    )
    parser.add_argument("--names", nargs="+", help="of all the models, in the order given")
    parser.add_argument(
        "--over-training",
        nargs="+",
        default=[],
        metavar="CHECKPOINT",
        help="checkpoints of the first model's training for figure 1b, in the order of the numbers "
        "in their names",
    )
    parser.add_argument(
        "--gates",
        nargs="+",
        metavar="LAYER:NUMBER",
        help="the gates of figure 1b, e.g. layer1.0:3 (four telling ones)",
    )
    parser.add_argument("--split", choices=["val", "test"], default="val", help="data set (val)")
    parser.add_argument(
        "--num-images", type=int, metavar="N", help="only N images, spread evenly over the data set"
    )
    return parser.parse_args()


def named_models(args: argparse.Namespace) -> list[Model]:
    """The models of the command line."""
    pairs = [*((args.config, checkpoint) for checkpoint in args.checkpoints), *args.compare]
    names = args.names or [Path(config).stem for config, _ in pairs]
    if len(names) != len(pairs):
        raise ValueError(f"expected {len(pairs)} --names, one per model, but got {len(names)}")
    if len(set(names)) < len(names) and not args.names:
        names = [str(Path(path).with_suffix("")) for _, path in pairs]
    if len(set(names)) < len(names):
        raise ValueError(
            f"expected models with different names, but got {' '.join(names)}; give others as "
            "--names"
        )
    return [
        Model(name, config, checked_checkpoint(checkpoint))
        for name, (config, checkpoint) in zip(names, pairs, strict=True)
    ]


def load_configs(args: argparse.Namespace, models: Sequence[Model]) -> dict[str, Config]:
    """The configs of the models by their paths."""
    paths = dict.fromkeys([args.config, *(model.config for model in models)])
    return {path: load_config(path, args.cfg_options) for path in paths}


def in_training_order(paths: Sequence[str]) -> list[str]:
    """Checkpoints by the last number in their names: a shell puts epoch_5 after epoch_10.

    Those without a number come last.
    """
    numbers = {path: re.findall(r"\d+", Path(path).stem) for path in paths}
    return sorted(paths, key=lambda path: int(numbers[path][-1]) if numbers[path] else math.inf)


def checkpoint_labels(paths: Sequence[str]) -> list[str]:
    """Short labels, ``epoch 10`` for ``work_dir/epoch_10.pth``; whole paths where those repeat."""
    labels = [Path(path).stem.replace("_", " ") for path in paths]
    return labels if len(set(labels)) == len(labels) else list(paths)


def build_data(config: Config, split: str, num_images: int | None) -> tuple[Any, Any]:
    """The data set of a split and its loader.

    Raises:
        ValueError: If the split has no data, or there are fewer images than asked for.
    """
    loader = config.get(f"{split}_dataloader")
    if not loader:
        raise ValueError(f"expected {split}_dataloader in the config for --split {split}, got none")
    check_data_roots(config, [f"{split}_dataloader"])
    with class_names_asked_for():
        dataset = DATASETS.build(loader["dataset"])
        if hasattr(dataset, "full_init"):  # plain torch's have none
            dataset.full_init()
    if num_images is not None:
        if not 1 <= num_images <= len(dataset):
            raise ValueError(
                f"expected --num-images from 1 to {len(dataset)}, but got {num_images}"
            )
        positions = np.linspace(0, len(dataset) - 1, num_images).round().astype(int)
        dataset = ImageSubset(dataset, positions.tolist())
    return dataset, Runner.build_dataloader({**loader, "dataset": dataset})


def build_evaluator(config: Config, split: str, dataset: Any) -> Evaluator:
    """The host's metrics of a split; the report counts what mmbas' own metrics do."""
    metrics = as_list(config.get(f"{split}_evaluator"))
    check_class_names(dataset, metrics)
    own = METRICS.module_dict
    evaluator = Evaluator([metric for metric in metrics if type_name(metric) not in own])
    evaluator.dataset_meta = metainfo_of(dataset)
    return evaluator


def check_gates(model: nn.Module, config: str) -> None:
    """Refuse a plain network."""
    if not named_gates(model):
        raise ValueError(
            f"expected a model with gates, but got none from {config}; a plain network has "
            "nothing to analyse"
        )


def gate_numbers(names: Sequence[str], model: nn.Module) -> list[int]:
    """Positions among all gates of a model of ``LAYER:NUMBER`` names."""
    layers = {layer_name(name): gate.num_gates for name, gate in named_gates(model).items()}
    gates = [f"{layer}:{number}" for layer, size in layers.items() for number in range(size)]
    for name in names:
        if name not in gates:
            raise ValueError(
                f"expected --gates like {gates[0]}, with one of the layers {', '.join(layers)} and "
                f"a number below its gates, but got {name}"
            )
    return [gates.index(name) for name in names]


def header_facts(
    origin: dict[str, Any], models: Iterable[Model], profile: GateProfile, data: str
) -> dict[str, str]:
    """Facts for the page about the origin of its numbers."""
    versions = ", ".join(f"{name} {version}" for name, version in origin["versions"].items())
    hardware = origin["hardware"]
    devices = ", ".join([hardware["cpu"], *hardware["gpus"]])
    return {
        **{model.name: f"{model.config}, {model.checkpoint}" for model in models},
        "data": f"{data}, {profile.counts.num_images} images, {len(profile.classes)} classes",
        "command": origin["command"],
        "commit": origin["commit"] or "unknown",
        "versions": versions,
        "hardware": f"{devices}, {counted(hardware['threads'], 'thread')}",
    }


def summary(profile: GateProfile) -> dict[str, Any]:
    """A model in a few numbers, whether hard images use more MACs among them."""
    numbers: dict[str, Any] = json_ready({**overview(profile), "difficulty": difficulty(profile)})
    return numbers


def main() -> None:
    args = parse_args()
    if Path(args.out_dir).exists() and not Path(args.out_dir).is_dir():
        raise ValueError(f"expected a folder as --out-dir, but {args.out_dir} is a file")
    models = named_models(args)
    training = in_training_order(
        [checked_checkpoint(path) for path in dict.fromkeys(args.over_training)]
    )
    configs = load_configs(args, models)
    config = configs[args.config]
    init_default_scope(config.get("default_scope") or "mmengine")
    dataset, loader = build_data(config, args.split, args.num_images)
    classes = class_names(dataset)

    # Before the models run: what is wrong should not cost an hour.
    for model in models:
        check_gates(build_model(configs[model.config]), model.config)
        load_trained_model(configs[model.config], model.checkpoint)
    first = load_trained_model(config, models[0].checkpoint) if args.gates else None
    gates = gate_numbers(args.gates, first) if first is not None else None

    def profile(name: str, model_config: Config, checkpoint: str) -> GateProfile:
        return profile_gates(
            load_trained_model(model_config, checkpoint),
            track(loader, description=name),
            name=name,
            classes=classes,
            evaluator=build_evaluator(config, args.split, dataset),
        )

    profiles = [profile(model.name, configs[model.config], model.checkpoint) for model in models]
    over_training = {
        label: profile(label, config, path)
        for label, path in zip(checkpoint_labels(training), training, strict=True)
    }
    origin = with_origin({}, args.config)
    sections = report_sections(
        profiles,
        DataSetImages(dataset, bgr=is_bgr(config)),
        over_training=over_training,
        gates=gates,
    )
    whole = dataset.dataset if isinstance(dataset, ImageSubset) else dataset
    data = f"{type(whole).__name__}, {args.split}_dataloader"
    write_report(
        Path(args.out_dir),
        models=profiles,
        sections=sections,
        origin={**origin, "checkpoints": {model.name: model.checkpoint for model in models}},
        facts=header_facts(origin, models, profiles[0], data),
    )
    write_json(args.out_json, with_origin({"models": list(map(summary, profiles))}, args.config))
    print(f"report written to {Path(args.out_dir) / 'report.html'}")


if __name__ == "__main__":
    run_tool(main)
