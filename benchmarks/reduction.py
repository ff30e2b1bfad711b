"""A gated network before and after static reduction, in ONNX Runtime and in torch, on the CPU.

Random weights; half of each block's gates are made to stay closed, the others are conditional. The
conditional network computes all channels and multiplies by the gates, the reduced one lacks those
that stay closed, the plain one is the same network without gates. One image, norms folded, NCHW,
all calls in turns in one process; each that counts follows one of the same that does not.

    python benchmarks/reduction.py --out-json benchmarks/FILE.json
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmbas.cli.command_line import (
    build_model,
    format_table,
    load_config,
    run_tool,
    with_origin,
    write_json,
)
from mmbas.compress.onnx_export import (
    ExportedNetwork,
    export_onnx,
    max_relative_difference,
    open_session,
    require_packages,
)
from mmbas.compress.reduction import reduce_model
from mmbas.costs.mac_count import count_macs
from mmbas.gates import named_gates
from mmbas.measure.plain_network import plain_twin
from mmbas.measure.timing import interleaved_seconds, median_ms, median_ratio

TOLERANCE = 1e-4
Networks = Mapping[str, ExportedNetwork]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    configs = [f"configs/resnet{depth}_bas_imagenet.py" for depth in (34, 50)]
    parser.add_argument("--configs", nargs="+", default=configs, metavar="CONFIG")
    parser.add_argument("--size", type=int, default=224, help="image height and width (224)")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out-json", metavar="FILE")
    return parser.parse_args()


def close_half(model: nn.Module) -> dict[str, Tensor]:
    """Close half of each block's gates for every image; returns what open rates count as."""
    rates = {}
    for name, gate in named_gates(model).items():
        closed = torch.randperm(gate.num_gates)[: gate.num_gates // 2]
        gate.fc2.weight.data[closed] = 0
        gate.fc2.bias.data[closed] = -5
        rates[name] = torch.full((gate.num_gates,), 0.5)
        rates[name][closed] = 0
    return rates


def settle_norms(model: nn.Module, images: Tensor) -> None:
    """Statistics of these images for the norms: else the output hardly depends on the image."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    model.train()(images, mode="tensor")
    model.eval()


@torch.no_grad()
def networks_of(config: Config, size: int) -> tuple[Networks, dict[str, Any]]:
    """The three networks, and what they are."""
    torch.manual_seed(0)
    config.model.setdefault("data_preprocessor", config.data_preprocessor)
    conditional: Any = build_model(config)
    rates = close_half(conditional)
    settle_norms(conditional, torch.randn(8, 3, size, size))
    reduction = reduce_model(conditional, rates)
    config.model.backbone.block_widths = reduction.block_widths
    reduced = build_model(config)
    reduced.load_state_dict(reduction.state_dict)
    models = {"plain": plain_twin(conditional), "conditional": conditional, "reduced": reduced}
    networks, figures = {}, {}
    for name, model in models.items():
        with count_macs(model) as count:
            model(torch.randn(1, 3, size, size), mode="tensor")
        params = sum(p.numel() for p in model.parameters())
        figures[name] = {"dense_macs": count.dense_macs(1), "params": params}
        networks[name] = ExportedNetwork(model, image_size=(size, size)).eval()
    removed = {"num_gates": reduction.num_gates, "num_removed": reduction.num_removed}
    return networks, {**removed, "networks": figures}


def check_parity(networks: Networks, sessions: Mapping[str, Any], images: Tensor) -> float:
    """Largest relative difference of the conditional network in torch from the others.

    Raises:
        ValueError: If one is above the tolerance, or none could be compared.
    """
    pairs = [("conditional", "conditional"), ("conditional", "reduced"), ("reduced", "reduced")]
    checks = [max_relative_difference(networks[a], sessions[b], images) for a, b in pairs]
    worst = max(difference for difference, _ in checks)
    if not worst <= TOLERANCE or min(compared for _, compared in checks) == 0:
        raise ValueError(f"expected outputs within {TOLERANCE:g}, but got {checks}")
    return worst


def measure(networks: Networks, folder: str, repeats: int) -> dict[str, Any]:
    """Median times in ms, and of the reduced network relative to the others, in pairs."""
    image = torch.rand(4, 3, *networks["plain"].image_size) * 255
    sessions = {name: open_session(f"{folder}/{name}.onnx") for name in networks}
    parity = check_parity(networks, sessions, image)
    image, calls = image[:1], {}
    for name, network in networks.items():
        feed = {"images": image.numpy()}
        calls["onnx", name] = lambda session=sessions[name], feed=feed: session.run(None, feed)
        calls["torch", name] = lambda network=network: network(image)
    with torch.inference_mode():
        seconds = interleaved_seconds(calls, repeats=repeats, settle=True)
    result = {"max_rel_diff": parity}
    for runtime, name in calls:
        result[f"{runtime}_{name}_ms"] = median_ms(seconds[runtime, name])
        if name != "reduced":
            ratio = median_ratio(seconds[runtime, "reduced"], seconds[runtime, name])
            result[f"{runtime}_reduced_over_{name}"] = ratio
    return result


def main() -> None:
    args = parse_args()
    require_packages("onnx", "onnxruntime")
    points = []
    for path in args.configs:
        networks, figures = networks_of(load_config(path), args.size)
        with tempfile.TemporaryDirectory() as folder:
            for name, network in networks.items():
                export_onnx(network, f"{folder}/{name}.onnx")
            for threads in args.threads:
                torch.set_num_threads(threads)
                settings = {"threads": threads, "size": args.size, "repeats": args.repeats}
                result = {**settings, **figures, **measure(networks, folder, args.repeats)}
                points.append(with_origin(result, path))
                write_json(args.out_json, {"points": points})
    keys = [f"{runtime}_{name}_ms" for runtime in ("onnx", "torch") for name in networks]
    rows = [
        [Path(point["config"]).stem, str(point["threads"]), *(f"{point[key]:.1f}" for key in keys)]
        for point in points
    ]
    print(format_table(["config", "threads", *keys], rows))


if __name__ == "__main__":
    run_tool(main)
