"""ResNet-20 on CIFAR-10 folders in a plain PyTorch loop: is the baseline of the plans a fair one?

The network is this project's without gates; data loading, augmentation, optimiser, schedule and
evaluation are torch's and torchvision's, without OpenMMLab. Images, their split, the number of
epochs and the precision are those of plans/cifar10-calibration.yaml, so that its runs `resnet20`
must reach the same accuracy.

    python benchmarks/plain_loop_cifar10.py --seed 0 --out-json results/cifar10-plain-loop/FILE
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from mmbas.backbones import GatedResNetCifar
from mmbas.cli.allocator import keep_freed_memory
from mmbas.cli.command_line import with_origin, write_json

MEAN = (125.307 / 255, 122.961 / 255, 113.8575 / 255)
STD = (51.5865 / 255, 50.847 / 255, 51.255 / 255)
NUM_HELD_OUT, NUM_TRAIN = 5000, 10_000


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", default="data/cifar10/train", help="folders of training images")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out-json", metavar="FILE", help="write the result to FILE as JSON")
    return parser.parse_args()


class Classifier(nn.Module):
    """Backbone, global average pooling and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = GatedResNetCifar(20, gate=None)
        self.backbone.init_weights()
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (N, 10), of images, shape (N, 3, 32, 32)."""
        return self.fc(self.backbone(x)[-1].mean(dim=(2, 3)))


def loaders(args: argparse.Namespace) -> tuple[DataLoader[Tensor], DataLoader[Tensor]]:
    normalise = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    # Zero padding is of the raw image, before normalisation, as in the configs.
    augment = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
    order = np.random.default_rng(0).permutation(len(ImageFolder(args.data)))
    held_out, train = order[:NUM_HELD_OUT], order[NUM_HELD_OUT:][:NUM_TRAIN]
    train_set = ImageFolder(args.data, transforms.Compose([*augment, *normalise]))
    test_set = ImageFolder(args.data, transforms.Compose(normalise))
    return (
        DataLoader(Subset(train_set, train.tolist()), args.batch_size, shuffle=True),
        DataLoader(Subset(test_set, held_out.tolist()), 256),
    )


def train(model: nn.Module, loader: DataLoader[Tensor], epochs: int) -> None:
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    milestones = [round(epochs * share) for share in (0.6, 0.75, 0.9)]
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.1)
    for epoch in range(epochs):
        model.train()
        for images, labels in loader:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scheduler.step()
        print(f"epoch {epoch + 1}: loss of the last batch {loss.item():.3f}", flush=True)


@torch.inference_mode()
def accuracy(model: nn.Module, loader: DataLoader[Tensor]) -> float:
    model.eval()
    correct = [(model(images).argmax(dim=1) == labels).float() for images, labels in loader]
    return float(torch.cat(correct).mean())


def main() -> None:
    args = parse_args()
    keep_freed_memory()
    torch.manual_seed(args.seed)
    train_loader, test_loader = loaders(args)
    model = Classifier()
    train(model, train_loader, args.epochs)
    result = {
        "name": f"resnet20_plain-loop_seed{args.seed}",
        "method": "plain ResNet-20, plain PyTorch loop",
        "data": "CIFAR-10 (JPEG copy), 10,000 training images, "
        "tested on 5,000 held-out training images",
        "seed": args.seed,
        "epochs": args.epochs,
        "accuracy": accuracy(model, test_loader),
    }
    print(f"accuracy {result['accuracy']:.4f}")
    write_json(args.out_json, with_origin(result, "benchmarks/plain_loop_cifar10.py"))


if __name__ == "__main__":
    main()
