"""Does a uniform prior of the activations help a network to be quantised after its training?

ResNet-20 is trained plainly, and with its activations shaped to a uniform prior. Both are then
quantised by torchao's PT2E, weights (per channel) and activations (per tensor), to 8, 6, 4 and 3
bits, and tested. torchao's observers choose the ranges on 256 training images: ``histogram``, its
default, which may clip, or ``minmax``, which does not.

Examples:
    python benchmarks/shaping_quantisation.py --out-json results/shaping-quantisation/digits.json
    python benchmarks/shaping_quantisation.py --data cifar10 --folder data/cifar10 --epochs 8
"""

from __future__ import annotations

import argparse
import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmbas.backbones import GatedResNetCifar
from mmbas.cli.command_line import format_table, run_tool, set_threads, with_origin, write_json
from mmbas.losses import ShapingLoss, UniformPrior
from mmbas.measure.small_training import (
    LabelledImages,
    Schedule,
    Split,
    accuracy,
    digits,
    train_classifier,
)

BITS = (8, 6, 4, 3)
OBSERVERS = ("histogram", "minmax")
NUM_CALIBRATION = 256


class ResNet20(nn.Module):
    """The backbone with pooling and a linear classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = GatedResNetCifar(20, gate=None)
        self.classifier = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores, shape (N, 10)."""
        return self.classifier(self.backbone(images)[-1].mean(dim=(2, 3)))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=["digits", "cifar10"], default="digits")
    parser.add_argument("--folder", type=Path, help="of CIFAR-10: train/CLASS/*, test/CLASS/*")
    parser.add_argument("--per-class", type=int, default=400, help="training images of CIFAR-10")
    parser.add_argument("--image-size", type=int, default=8, help="of the digits")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--loss-weight", type=float, default=1.0, help="of both shaping losses")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out-json", metavar="FILE")
    return parser.parse_args()


def uniform_shaping(loss_weight: float) -> dict[str, ShapingLoss]:
    """Norm outputs and block outputs to a uniform distribution on (-2, 2).

    What a ReLU has cut is then half zeros and half uniform on (0, 2). Values beyond the ends are
    drawn back by the floor of the density.
    """
    features = {"norms": ["backbone.bn1", "backbone.layer?.?.bn1"], "blocks": ["backbone.layer?.?"]}
    return {
        name: ShapingLoss(
            features=patterns,
            prior=UniformPrior(-2, 2),
            loss_weight=loss_weight,
            max_values=1024,
            max_channels=16,
            reduction="mean",
            min_density=0.1,
            handle_ties=name == "blocks",
        )
        for name, patterns in features.items()
    }


def exported(model: nn.Module, images: Tensor) -> Any:
    """The graph of the model for any batch, in evaluation mode."""
    batch = torch.export.Dim("batch", min=2, max=4096)
    return torch.export.export(
        copy.deepcopy(model).eval(), (images[:2],), dynamic_shapes=({0: batch},)
    )


def quantised(
    graph: Any, images: Tensor, *, bits: int, observer: str
) -> Callable[[Tensor], Tensor]:
    """A graph with weights and activations of some bits, as torchao's PT2E makes it."""
    from torchao.quantization.pt2e import (
        HistogramObserver,
        MinMaxObserver,
        PerChannelMinMaxObserver,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
    from torchao.quantization.pt2e.quantizer import QuantizationSpec
    from torchao.quantization.pt2e.quantizer.utils import QuantizationConfig
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import X86InductorQuantizer

    activation = QuantizationSpec(
        dtype=torch.uint8,
        quant_min=0,
        quant_max=2**bits - 1,
        qscheme=torch.per_tensor_affine,
        observer_or_fake_quant_ctr={"histogram": HistogramObserver, "minmax": MinMaxObserver}[
            observer
        ].with_args(eps=2**-12),
    )
    weight = QuantizationSpec(
        dtype=torch.int8,
        quant_min=1 - 2 ** (bits - 1),
        quant_max=2 ** (bits - 1) - 1,
        qscheme=torch.per_channel_symmetric,
        ch_axis=0,
        observer_or_fake_quant_ctr=PerChannelMinMaxObserver.with_args(eps=2**-12),
    )
    quantizer = X86InductorQuantizer()
    quantizer.set_global(QuantizationConfig(activation, None, weight, None))
    prepared = prepare_pt2e(graph.module(), quantizer)
    with torch.no_grad():
        for part in images.split(64):
            prepared(part)
    converted: Callable[[Tensor], Tensor] = convert_pt2e(prepared)
    return converted


def cifar10(folder: Path, per_class: int) -> Split:
    """Images of folders: some of each class for training, 100 for the test."""
    from torchvision.datasets import ImageFolder

    parts = []
    for split, number in (("train", per_class), ("test", 100)):
        dataset = ImageFolder(str(folder / split))
        taken: dict[int, int] = {}
        images, labels = [], []
        for path, label in dataset.samples:
            if taken.setdefault(label, 0) < number:
                taken[label] += 1
                images.append(torch.from_numpy(np.array(dataset.loader(path))))
                labels.append(label)
        parts.append((torch.stack(images).permute(0, 3, 1, 2).float(), torch.tensor(labels)))
    mean, std = parts[0][0].mean(), parts[0][0].std()
    train, test = (LabelledImages((images - mean) / std, labels) for images, labels in parts)
    return train, test


def run(name: str, seed: int, args: argparse.Namespace, data: Split) -> dict[str, Any]:
    """Train one network, quantise it in all ways, and test."""
    torch.manual_seed(seed)
    model = ResNet20()
    shaping = {} if name == "plain" else uniform_shaping(args.loss_weight)
    for loss in shaping.values():
        loss.bind(model)
    train, test = data
    train_classifier(model, train, Schedule(args.epochs), shaping=shaping, seed=seed)
    model.eval()
    images = train.images[:: len(train.images) // NUM_CALIBRATION][:NUM_CALIBRATION]
    result: dict[str, Any] = {"name": name, "seed": seed, "float32": accuracy(model, test)}
    graph = exported(model, images)
    for observer in OBSERVERS:
        for bits in BITS:
            network = quantised(graph, images, bits=bits, observer=observer)
            result[f"{observer}_{bits}"] = accuracy(network, test)
    print(" ".join(f"{key}={value}" for key, value in result.items()), flush=True)
    return result


def main() -> None:
    args = parse_args()
    set_threads(args.threads)
    warnings.filterwarnings("ignore", module="torch.*")
    if args.data == "cifar10" and args.folder is None:
        raise ValueError("expected --folder for CIFAR-10, but got none")
    data = (
        digits(args.image_size) if args.data == "digits" else cifar10(args.folder, args.per_class)
    )
    runs = []
    for seed in args.seeds:
        for name in ("plain", "shaped"):
            runs.append(run(name, seed, args, data))
            report(runs, args, data)


def report(
    runs: list[dict[str, Any]],
    args: argparse.Namespace,
    data: Split,
) -> None:
    """Print the means of the runs so far, and write them all."""
    columns = ["float32", *(f"{observer}_{bits}" for observer in OBSERVERS for bits in BITS)]
    means = {
        name: {c: float(np.mean([r[c] for r in runs if r["name"] == name])) for c in columns}
        for name in dict.fromkeys(r["name"] for r in runs)
    }
    rows = [[name, *(f"{100 * values[c]:.1f}" for c in columns)] for name, values in means.items()]
    print(format_table(["accuracy, %", *columns], rows), flush=True)
    result = {
        "data": "digits" if args.data == "digits" else "CIFAR-10 (JPEG copy)",
        "images": [len(part.images) for part in data],
        "image_size": data[0].images.shape[-1],
        "seed": args.seeds,
        "epochs": args.epochs,
        "loss_weight": args.loss_weight,
        "means": means,
        "runs": runs,
    }
    write_json(args.out_json, with_origin(result, "none"))


if __name__ == "__main__":
    run_tool(main)
