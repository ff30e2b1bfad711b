"""Shaping in the batch of all processes: two processes that share a batch equal one."""

import copy
import os
import subprocess
import sys

import numpy as np
import torch
import torch.distributed as dist
from helpers import end_worker
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmbas.losses import BetaPrior, LearnedPrior, NormalPrior, RelaxedBernoulliPrior, ShapingLoss


def network():
    torch.manual_seed(7)
    return nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(inplace=True), nn.Conv2d(6, 4, 1))


SETTINGS = {
    "all": dict(features=["0", "2"]),
    "sampled": dict(features=["0", "2"], max_values=64, max_channels=3, max_features=1),
    "few": dict(features=["2"], max_values=4),
    "queue": dict(features=["2"], queue_size=50),
    "learned": dict(
        features=["0", "2"],
        form="logits",
        prior=LearnedPrior(
            prior=RelaxedBernoulliPrior(0.5, 0.5), hyperpriors=dict(prob=BetaPrior(3, 7))
        ),
    ),
}


class Shaped(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.net = network()
        self.shaping = ShapingLoss(**copy.deepcopy({"prior": NormalPrior(), **options}))
        self.shaping.bind(self.net)

    def forward(self, images):
        with self.shaping.recording(self.net) as features:
            output = self.net(images)
        return sum(self.shaping.terms_of(features, "x").values()) + 0 * output.sum()


def train(model, batches):
    values, grads = [], []
    for batch in batches:
        model.zero_grad()
        value = model(batch)
        value.backward()
        values.append(value.item())
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters()]).clone())
    return values, grads


def batches():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(6, 2, 12, 12, generator=generator) for _ in range(2)]


def distributed_worker(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    results = {}
    for name, options in SETTINGS.items():
        model = DistributedDataParallel(Shaped(**options, gather=True))
        results[name] = train(model, [batch[3 * rank : 3 * rank + 3] for batch in batches()])
    torch.save(results, f"{folder}/rank{rank}.pt")
    end_worker()


def test_two_processes_equal_one(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    workers = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(tmp_path)], env=environment)
        for rank in range(2)
    ]
    assert [worker.wait(timeout=600) for worker in workers] == [0, 0]
    ranks = [torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2)]
    for name, options in SETTINGS.items():
        values, grads = train(Shaped(**options), batches())
        for rank in ranks:
            np.testing.assert_allclose(rank[name][0], values, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(rank[name][1], grads, rtol=1e-4, atol=1e-6)
        assert min(grad.abs().max().item() for grad in grads) > 1e-4


if __name__ == "__main__":
    distributed_worker(int(sys.argv[1]), sys.argv[2])
