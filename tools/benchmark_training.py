"""Costs of gating in training: step time and peak memory, gated against plain.

The plain network is the config's with gate=None. Both train on the same random images; every
number is a ratio inside one run, a median over interleaved repeats. Before each counted step its
network makes an uncounted one, so that it finds memory as it would in training. As in
tools/train.py, glibc keeps freed memory.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import BaseDataElement, PixelData
from torch import Tensor, nn

from mmbas.cli.allocator import keep_freed_memory
from mmbas.cli.command_line import (
    config_parser,
    format_table,
    load_config,
    run_tool,
    set_threads,
    with_origin,
    write_json,
)
from mmbas.cli.data_sets import input_shape
from mmbas.compress.prediction import is_detector, is_segmentor
from mmbas.gates import named_gates, record_gate_outputs
from mmbas.measure.timing import interleaved_seconds, median_ms, median_ratio, peak_bytes


def parse_args() -> argparse.Namespace:
    parser = config_parser(
        __doc__,
        examples=[
            "python tools/benchmark_training.py configs/resnet20_bas_cifar10.py --threads 1",
            "python tools/benchmark_training.py configs/resnet20_bas_cifar10.py --device cuda",
        ],
    )
    parser.add_argument("--batch-size", type=int, help="default: the config's")
    parser.add_argument("--shape", nargs="+", type=int, metavar="SIZE", help="image height, width")
    parser.add_argument("--threads", type=int, help="CPU threads; default: torch's")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--repeats", type=int, default=15, help="counted steps of each (15)")
    return parser.parse_args()


def build(config: Config, device: str, *, gated: bool) -> nn.Module:
    """The config's network in training mode, or the same without gates.

    Raises:
        ValueError: If the gated one has no gates or no gate losses.
    """
    model_config = copy.deepcopy(config.model)
    if not gated:
        model_config.backbone.gate = None
        model_config.gate_losses = None
    torch.manual_seed(0)
    model: nn.Module = MODELS.build(model_config)
    if gated and not (named_gates(model) and getattr(model, "gate_losses", None)):
        raise ValueError(f"expected a config with gates and gate losses, but got {config.filename}")
    return model.to(device).train()


def random_labels(model: Any, images: Tensor) -> list[BaseDataElement]:
    """A label for each image, or for each of its pixels."""
    if is_detector(model):
        raise ValueError(
            f"expected a classifier or segmentor, but got {type(model).__name__}, which learns "
            "from boxes; the log of tools/train.py has the time of a detector's step"
        )
    num_images, _, height, width = images.shape
    if not is_segmentor(model):
        labels = torch.arange(num_images, device=images.device) % model.head.num_classes
        return [BaseDataElement(gt_label=label.view(1)) for label in labels]
    size = (num_images, 1, height, width)
    maps = torch.randint(model.num_classes, size, device=images.device)
    return [BaseDataElement(gt_sem_seg=PixelData(data=labels)) for labels in maps]


def training_step(model: Any, images: Tensor, samples: list[BaseDataElement]) -> Callable[[], None]:
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9, nesterov=True)

    def step() -> None:
        losses = model.loss(images, samples)
        sum(value for key, value in losses.items() if "loss" in key).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def gate_losses_step(model: Any, images: Tensor) -> Callable[[], None]:
    """Forward and backward of the gate losses alone, on this model's logits."""
    with torch.no_grad(), record_gate_outputs(model) as records:
        model.extract_feat(images)
    outputs = [
        replace(output, logits=output.logits.clone().requires_grad_())
        for outputs in records.values()
        for output in outputs
    ]

    def step() -> None:
        losses = [
            loss.terms(outputs, lambda: model.dense_macs(images))[loss.loss_name]
            for loss in model.gate_losses.values()
        ]
        sum(losses).backward()

    return step


def measure(config: Config, args: argparse.Namespace) -> dict[str, Any]:
    batch_size = args.batch_size or (config.get("train_dataloader") or {}).get("batch_size")
    if not batch_size:
        raise ValueError("expected --batch-size, since the config has no train_dataloader")
    height, width = input_shape(config, args.shape)
    images = torch.randn(batch_size, 3, height, width, device=args.device)
    gated, plain = (build(config, args.device, gated=gated) for gated in (True, False))
    samples = random_labels(gated, images)
    steps = {
        "gated": training_step(gated, images, samples),
        "plain": training_step(plain, images, samples),
        "gate losses": gate_losses_step(gated, images),
    }
    seconds = interleaved_seconds(steps, repeats=args.repeats, settle=True, device=args.device)
    peaks = {name: peak_bytes(steps[name], device=args.device) for name in ("gated", "plain")}
    weights = {
        name: sum(p.numel() * p.element_size() for p in model.parameters())
        for name, model in (("gated", gated), ("plain", plain))
    }
    # Weights and momentum are there before the step; its gradients are inside the peak.
    memory = {name: peaks[name] + 2 * weights[name] for name in peaks}
    return {
        "step_ratio": median_ratio(seconds["gated"], seconds["plain"]),
        "memory_ratio": memory["gated"] / memory["plain"],
        "gate_loss_share": median_ratio(seconds["gate losses"], seconds["gated"]),
        "gated_ms": median_ms(seconds["gated"]),
        "plain_ms": median_ms(seconds["plain"]),
        "gate_losses_ms": median_ms(seconds["gate losses"]),
        "gated_bytes": memory["gated"],
        "plain_bytes": memory["plain"],
        "batch_size": batch_size,
        "shape": [height, width],
        "device": args.device,
        "threads": torch.get_num_threads(),
        "repeats": args.repeats,
    }


def print_result(result: dict[str, Any]) -> None:
    rows = [
        ["plain", f"{result['plain_ms']:.1f}", f"{result['plain_bytes'] / 2**20:.1f}"],
        ["gated", f"{result['gated_ms']:.1f}", f"{result['gated_bytes'] / 2**20:.1f}"],
        ["gated / plain", f"{result['step_ratio']:.3f}", f"{result['memory_ratio']:.3f}"],
    ]
    print(format_table(["training step", "ms", "peak MiB"], rows))
    print(f"gate losses: {result['gate_losses_ms']:.2f} ms, {result['gate_loss_share']:.2%} of it")


def main() -> None:
    args = parse_args()
    config = load_config(args.config, args.cfg_options)
    set_threads(args.threads)
    keep_freed_memory()
    init_default_scope(config.get("default_scope") or "mmengine")
    result = measure(config, args)
    print_result(result)
    write_json(args.out_json, with_origin(result, args.config))


if __name__ == "__main__":
    run_tool(main)
