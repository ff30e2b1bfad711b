"""Ranking in the batch of all processes: two processes that share a batch equal one."""

import os
import subprocess
import sys

import numpy as np
import torch
import torch.distributed as dist
from helpers import end_worker
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmbas.gates import GateOutput
from mmbas.losses import BatchShapingLoss
from mmbas.losses.batch_shaping.gather import gather_batch

SPLITS = {"equal": (3, 3), "unequal": (4, 2), "one_each": (1, 1)}


def batches_of(split):
    torch.manual_seed(sum(SPLITS[split]))
    return [torch.randn(sum(SPLITS[split]), 5) for _ in range(3)]


def gated_net():
    torch.manual_seed(7)
    return nn.Linear(5, 6)


def train(net, loss, batches):
    """Values and parameter gradients of each step."""
    values, grads = [], []
    for batch in batches:
        net.zero_grad()
        first, second = net(batch).split([2, 4], dim=1)
        value = loss([GateOutput(first, first), GateOutput(second, second)])
        value.backward()
        values.append(value.item())
        grads.append(torch.cat([p.grad.flatten() for p in net.parameters()]).clone())
    return values, grads


def distributed_worker(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    results = {}
    for split, sizes in SPLITS.items():
        rows = slice(0, sizes[0]) if rank == 0 else slice(sizes[0], None)
        for queue_size in (0, 7):
            loss = BatchShapingLoss(reduction="layer_mean", gather=True, queue_size=queue_size)
            net = DistributedDataParallel(gated_net())
            batches = [batch[rows] for batch in batches_of(split)]
            results[split, queue_size] = train(net, loss, batches)
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
    for split in SPLITS:
        for queue_size in (0, 7):
            loss = BatchShapingLoss(reduction="layer_mean", queue_size=queue_size)
            values, grads = train(gated_net(), loss, batches_of(split))
            for rank in ranks:
                rank_values, rank_grads = rank[split, queue_size]
                np.testing.assert_allclose(rank_values, values, rtol=0, atol=1e-6)
                torch.testing.assert_close(rank_grads, grads, rtol=0, atol=1e-6)
            assert min(grad.abs().max().item() for grad in grads) > 1e-3


def test_gather_does_nothing_in_one_process():
    logits = torch.randn(5, 3)
    assert gather_batch(logits) is logits
    output = [GateOutput(logits, logits)]
    expected = BatchShapingLoss()(output)
    torch.testing.assert_close(BatchShapingLoss(gather=True)(output), expected, rtol=0, atol=0)


if __name__ == "__main__":
    distributed_worker(int(sys.argv[1]), sys.argv[2])
