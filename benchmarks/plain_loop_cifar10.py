"""ResNet-20 on CIFAR-10 folders in a plain PyTorch loop: do the plans train as well as that?

The network and the gate losses are this project's; data loading, augmentation, optimiser, schedule
and evaluation are torch's and torchvision's, without OpenMMLab. Images, their split, the number of
epochs and the precision are those of plans/cifar10-calibration.yaml, so that its runs `resnet20`
and `bas-sum_l0-layer-mean_gamma*` must reach the same accuracy, for the latter at the same MACs.

    python benchmarks/plain_loop_cifar10.py --seed 0 --out-json results/cifar10-plain-loop/FILE
    python benchmarks/plain_loop_cifar10.py --gamma 0.05 --seed 0 --out-json FILE

What differs from the plans, found by reading both:

- The last layer starts with torch's weights, uniform to 1/8. MMPretrain draws them with a standard
  deviation of 0.01, a seventh of that: --head-std 0.01.
- Random numbers: the order of the images, the crops and the noise are other ones, and mmbas seeds
  them anew in every epoch. Decoders of JPEG files differ in single grey levels (PIL, OpenCV).
- Averaging over positions in bfloat16 is torch's mean here, AdaptiveAvgPool2d there.

The same in both: first weights of the backbone and its gates, no weight decay on gates, a learning
rate that falls after whole epochs, factors of the gate losses that change in every iteration. Gate
networks run in float32, norm layers have momentum 0.1, tests in float32 have batches of 256. Both
train on a smaller batch at the end of an epoch, which --drop-last leaves out here, and
train_dataloader.drop_last there.
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
from mmbas.costs import count_macs
from mmbas.gates import GateOutput, record_gate_outputs
from mmbas.hooks import LinearWindow
from mmbas.losses import BatchShapingLoss, GateL0Loss

MEAN = (125.307 / 255, 122.961 / 255, 113.8575 / 255)
STD = (51.5865 / 255, 50.847 / 255, 51.255 / 255)
NUM_HELD_OUT, NUM_TRAIN = 5000, 10_000


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", default="data/cifar10/train", help="folders of training images")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gamma", type=float, metavar="G", help="with gates and their losses")
    parser.add_argument("--drop-last", action="store_true", help="no smaller batch of an epoch")
    parser.add_argument("--head-std", type=float, metavar="S", help="of the last layer's weights")
    parser.add_argument("--out-json", metavar="FILE", help="write the result to FILE as JSON")
    return parser.parse_args()


class Classifier(nn.Module):
    """Backbone, global average pooling and a linear layer."""

    def __init__(self, *, gated: bool = False, head_std: float | None = None) -> None:
        super().__init__()
        self.backbone = GatedResNetCifar(20, gate=dict(type="mmbas.ChannelGate") if gated else None)
        self.backbone.init_weights()
        self.fc = nn.Linear(64, 10)
        if head_std is not None:
            nn.init.normal_(self.fc.weight, std=head_std)
            nn.init.zeros_(self.fc.bias)

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
        DataLoader(
            Subset(train_set, train.tolist()),
            args.batch_size,
            shuffle=True,
            drop_last=args.drop_last,
        ),
        DataLoader(Subset(test_set, held_out.tolist()), 256),
    )


class GateLosses:
    """Both gate losses with the paper's windows of 500 epochs in proportion.

    Args:
        gamma: Weight of the L0 loss.
        epochs: Length of the training.
    """

    def __init__(self, gamma: float, epochs: int) -> None:
        self.bas, self.l0 = BatchShapingLoss(loss_weight=0.75), GateL0Loss(loss_weight=gamma)
        self.falling = LinearWindow(0, 0.2 * epochs, 1.0, 0.0)
        self.rising = LinearWindow(0.2 * epochs, 0.6 * epochs, 0.0, 1.0)

    def __call__(self, records: dict[str, list[GateOutput]], progress: float) -> Tensor:
        """Their sum at ``progress`` in epochs."""
        self.bas.factor = self.falling.factor(progress)
        self.l0.factor = self.rising.factor(progress)
        outputs = [output for (output,) in records.values()]
        return self.bas(outputs) + self.l0(outputs)


def train(
    model: nn.Module, loader: DataLoader[Tensor], epochs: int, gate_losses: GateLosses | None
) -> None:
    gates = [parameter for name, parameter in model.named_parameters() if ".gate." in name]
    others = [parameter for name, parameter in model.named_parameters() if ".gate." not in name]
    groups = [dict(params=others, weight_decay=5e-4), dict(params=gates, weight_decay=0.0)]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
    milestones = [round(epochs * share) for share in (0.6, 0.75, 0.9)]
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.1)
    for epoch in range(epochs):
        model.train()
        for i, (images, labels) in enumerate(loader):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                with record_gate_outputs(model) as records:
                    loss = F.cross_entropy(model(images), labels)
                if gate_losses is not None:
                    loss = loss + gate_losses(records, epoch + i / len(loader))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scheduler.step()
        print(f"epoch {epoch + 1}: loss of the last batch {loss.item():.3f}", flush=True)


@torch.inference_mode()
def test(model: nn.Module, loader: DataLoader[Tensor]) -> dict[str, float]:
    """Accuracy, and average MACs as a fraction of the dense ones."""
    model.eval()
    correct, macs = [], []
    for images, labels in loader:
        with count_macs(model) as count:
            correct.append((model(images).argmax(dim=1) == labels).float())
        macs.append(count.macs(len(images)) / count.dense_macs(len(images)))
    return {
        "accuracy": float(torch.cat(correct).mean()),
        "macs/fraction": float(torch.cat(macs).mean()),
    }


def main() -> None:
    args = parse_args()
    keep_freed_memory()
    torch.manual_seed(args.seed)
    train_loader, test_loader = loaders(args)
    gated = args.gamma is not None
    model = Classifier(gated=gated, head_std=args.head_std)
    train(model, train_loader, args.epochs, GateLosses(args.gamma, args.epochs) if gated else None)
    kind = f"bas_gamma{args.gamma:g}_" if gated else ""
    result = {
        "name": f"resnet20_{kind}plain-loop_seed{args.seed}",
        "method": f"{'ResNet-20-BAS' if gated else 'plain ResNet-20'}, plain PyTorch loop",
        "data": "CIFAR-10 (JPEG copy), 10,000 training images, "
        "tested on 5,000 held-out training images",
        "seed": args.seed,
        "epochs": args.epochs,
        "drop_last": args.drop_last,
        "head_std": args.head_std,
        **test(model, test_loader),
    }
    print(f"accuracy {result['accuracy']:.4f} at {result['macs/fraction']:.3f} of the MACs")
    write_json(args.out_json, with_origin(result, "benchmarks/plain_loop_cifar10.py"))


if __name__ == "__main__":
    main()
