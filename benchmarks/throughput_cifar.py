"""Images per second of the CIFAR-10 configs through mmengine, and of a loop in plain PyTorch.

All train the configs' model, with its gate losses, on random images of CIFAR-10's size, with their
batch size, optimiser, padding, crop and flip. They load image by image in MMPretrain's pipeline
(sample), whole batches (batched), or image by image in plain PyTorch (plain). Loading is timed
alone, in one process, and training with loading processes beside it. All take turns, so that drift
of the machine hits all alike.

    python benchmarks/throughput_cifar.py --iterations 12 --rounds 3 --out-json FILE
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from statistics import median
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, MODELS, init_default_scope
from mmengine.runner import Runner
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from mmbas.cli.allocator import keep_freed_memory
from mmbas.cli.command_line import own_command, write_json
from mmbas.cli.environment import describe
from mmbas.gates import record_gate_outputs
from mmbas.measure.timing import median_ratio

CONFIGS = {
    "sample": "configs/resnet20_bas_cifar10.py",
    "batched": "configs/resnet20_bas_cifar10_batched.py",
}

PREFETCHED = 2  # batches of each loading process, torch's default


def random_images(number: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 32, 32, 3), uint8, and labels."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (number, 32, 32, 3), dtype=np.uint8)
    return images, generator.integers(0, 10, number)


@DATASETS.register_module()
class RandomCifar(BaseDataset):
    """Random images, held as mmpretrain's CIFAR10 holds its own.

    Args:
        number: Number of images.
        pipeline: Pipeline as in the config.
    """

    def __init__(self, number: int, pipeline: list[dict[str, Any]]) -> None:
        self.number = number
        super().__init__(pipeline=pipeline)

    def load_data_list(self) -> list[dict[str, Any]]:
        """One dict an image, with ``img`` and ``gt_label``."""
        images, labels = random_images(self.number)
        return [
            dict(img=image, gt_label=int(label))
            for image, label in zip(images, labels, strict=True)
        ]


class PlainCifar(Dataset[tuple[Tensor, int]]):
    """The same images as tensors, cropped and flipped one by one as torchvision does."""

    def __init__(self, number: int) -> None:
        images, labels = random_images(number)
        self.images = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
        self.labels = labels.tolist()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        padded = F.pad(self.images[index], (4, 4, 4, 4))
        top, left = torch.randint(9, (2,)).tolist()
        image = padded[:, top : top + 32, left : left + 32]
        if torch.rand(()) < 0.5:
            image = image.flip(2)
        return image, self.labels[index]


class Stopwatch(Hook):
    """When each iteration of a runner ended."""

    priority = "LOWEST"

    def __init__(self) -> None:
        self.times: list[float] = []

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())


def adapted(config: Config, number: int, work_dir: str, workers: int) -> Config:
    """The config on random images, for one epoch without checkpoints and validation."""
    dataset = config.train_dataloader.dataset
    dataset = dataset.get("dataset", dataset)  # of batched crops, the one inside
    images = dict(type="mmengine.RandomCifar", number=number, pipeline=dataset.pipeline)
    dataset.clear()
    dataset.update(images)
    config.train_dataloader.num_workers = workers
    config.train_cfg = dict(by_epoch=True, max_epochs=1)
    for key in ("val", "test"):
        for part in ("cfg", "dataloader", "evaluator"):
            config[f"{key}_{part}"] = None
    config.default_hooks.checkpoint = None
    config.custom_hooks = [hook for hook in config.custom_hooks if "Schedule" not in hook.type]
    config.vis_backends = config.visualizer.vis_backends = []
    config.work_dir, config.log_level = work_dir, "ERROR"
    return config


def build_classifier(config: Config) -> nn.Module:
    torch.manual_seed(0)
    model = MODELS.build({**config.model, "data_preprocessor": dict(config.data_preprocessor)})
    model.init_weights()
    return model.train()


def plain_steps(config: Config, loader: Iterable[Any]) -> Iterator[float]:
    """Train as a script in plain PyTorch would; the time after each step."""
    model: Any = build_classifier(config)
    mean, std = (
        torch.tensor(config.data_preprocessor[key]).view(1, 3, 1, 1) for key in ("mean", "std")
    )
    settings = {k: v for k, v in config.optim_wrapper.optimizer.items() if k != "type"}
    optimizer = torch.optim.SGD(model.parameters(), **settings)
    for images, labels in loader:
        with record_gate_outputs(model) as records:
            features = model.backbone((images.float() - mean) / std)[-1]
        scores = model.head.fc(features.mean(dim=(2, 3)))
        outputs = [output for outputs in records.values() for output in outputs]
        loss = F.cross_entropy(scores, labels)
        loss = loss + sum(gate_loss(outputs) for gate_loss in model.gate_losses.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield time.perf_counter()


def loading_rate(loader: DataLoader[Any], num_images: int) -> float:
    """Images per second of one pass in this process."""
    start = time.perf_counter()
    for _ in loader:
        pass
    return num_images / (time.perf_counter() - start)


def training_rate(times: list[float], batch_size: int, workers: int) -> float:
    """Images per second, by the median step of those that start without batches in store.

    Each loading process holds two batches before the first step; the steps that use them up do not
    count.
    """
    stored = PREFETCHED * workers
    return batch_size / float(np.median(np.diff(times[stored:])))


def mmengine_steps(config: Config, number: int, workers: int) -> list[float]:
    """Train through mmengine's runner; the time after each step."""
    with tempfile.TemporaryDirectory() as work_dir:
        adapted(config, number, work_dir, workers)
        runner, stopwatch = Runner.from_cfg(config), Stopwatch()
        runner.register_hook(stopwatch)
        runner.train()
    return stopwatch.times


def measure(*, iterations: int, workers: int, rounds: int) -> dict[str, list[float]]:
    """Images per second of loading and of training, in each round."""
    init_default_scope("mmpretrain")
    plain = Config.fromfile(CONFIGS["sample"])
    batch_size = plain.train_dataloader.batch_size
    number = batch_size * iterations
    images = PlainCifar(number)
    alone = {
        name: Runner.build_dataloader(
            adapted(Config.fromfile(path), number, "unused", 0).train_dataloader
        )
        for name, path in CONFIGS.items()
    }
    alone["plain"] = DataLoader(images, batch_size, shuffle=True)
    rates: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for name, loader in alone.items():
            rates[f"load_{name}"].append(loading_rate(loader, number))
        loader = DataLoader(images, batch_size, shuffle=True, num_workers=workers)
        times = list(plain_steps(plain, loader))
        rates["train_plain"].append(training_rate(times, batch_size, workers))
        for name, path in CONFIGS.items():
            times = mmengine_steps(Config.fromfile(path), number, workers)
            rates[f"train_{name}"].append(training_rate(times, batch_size, workers))
    return dict(rates)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--iterations", type=int, default=12, help="of each training (12)")
    parser.add_argument("--rounds", type=int, default=3, help="trainings of each loop (3)")
    parser.add_argument("--workers", type=int, default=2, help="loading processes (2)")
    parser.add_argument("--threads", type=int, default=2, help="threads of the training (2)")
    parser.add_argument("--out-json", metavar="FILE")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    keep_freed_memory()
    rates = measure(iterations=args.iterations, workers=args.workers, rounds=args.rounds)
    result = {
        "images_per_second": {name: median(each) for name, each in rates.items()},
        "of_plain": {
            f"{kind}_{name}": median_ratio(rates[f"{kind}_{name}"], rates[f"{kind}_plain"])
            for kind in ("load", "train")
            for name in CONFIGS
        },
        "rounds": rates,
        "command": own_command(),
        "data": "random images of CIFAR-10's size",
        **describe(),
    }
    print(json.dumps(result, indent=2))
    write_json(args.out_json, result)


if __name__ == "__main__":
    main()
