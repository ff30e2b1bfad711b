"""A whole gated PSPNet: two processes with half of the batch equal one with all of it."""

import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from helpers import end_worker

pytest.importorskip("mmseg")

from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch.nn.parallel import DistributedDataParallel

CONFIG = Path(__file__).resolve().parents[1] / "configs/pspnet_r18_bas_street_scenes.py"
NUM_IMAGES, SIZE, STEPS = 4, 64, 3


def pspnet():
    """The experiment's model in float64, so that what differs is no rounding.

    Norm layers are in evaluation: their batch statistics need SyncBN, which needs GPUs. So images
    meet in the batch-shaping loss alone, which gathers and has a queue.
    """
    config = Config.fromfile(CONFIG).model
    for head in (config.decode_head, config.auxiliary_head):
        head.update(channels=8, dropout_ratio=0.0)
    assert config.gate_losses.bas.gather
    assert config.gate_losses.bas.queue_size > NUM_IMAGES
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = revert_sync_batchnorm(MODELS.build(config)).double().train()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()
    return model


def batches():
    generator = torch.Generator().manual_seed(1)
    shape = (STEPS, NUM_IMAGES, 1, SIZE, SIZE)
    images = torch.randn(*shape[:2], 3, SIZE, SIZE, generator=generator, dtype=torch.float64)
    return list(zip(images, torch.randint(0, 19, shape, generator=generator), strict=True))


def train(model, rows):
    """Losses and gradients of each step with the images ``rows`` of each batch."""
    network = model.module if isinstance(model, DistributedDataParallel) else model
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    steps = []
    # Without noise gates are the same however the batch is split, and still have gradients.
    with mock.patch("mmbas.gates.binary_concrete.logistic_noise_like", torch.zeros_like):
        for images, labels in batches():
            samples = [
                SegDataSample(
                    gt_sem_seg=PixelData(data=label), metainfo=dict(img_shape=(SIZE, SIZE))
                )
                for label in labels[rows]
            ]
            optimizer.zero_grad()
            losses = model(images[rows], samples, mode="loss")
            total, _ = network.parse_losses(losses)
            total.backward()
            optimizer.step()
            gradients = {name: p.grad.clone() for name, p in network.named_parameters()}
            steps.append((total.item(), losses["loss_bas"].item(), gradients))
    return steps


def distributed_worker(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    half = NUM_IMAGES // 2
    steps = train(DistributedDataParallel(pspnet()), slice(rank * half, (rank + 1) * half))
    torch.save(steps, f"{folder}/rank{rank}.pt")
    end_worker()


def test_two_processes_equal_one(tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(tmp_path)], env=environment)
        for rank in range(2)
    ]
    expected = train(pspnet(), slice(None))
    assert [worker.wait(timeout=600) for worker in workers] == [0, 0]
    ranks = [torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2)]

    for step, (total, loss_bas, gradients) in enumerate(expected):
        totals, losses_bas, by_rank = zip(*(rank[step] for rank in ranks), strict=True)
        assert losses_bas == pytest.approx([loss_bas, loss_bas], abs=1e-6)
        assert sum(totals) / 2 == pytest.approx(total, abs=1e-6)
        for name, gradient in gradients.items():
            for rank_gradients in by_rank:
                torch.testing.assert_close(rank_gradients[name], gradient, rtol=0, atol=1e-6)
        assert min(g.abs().max() for n, g in gradients.items() if ".gate." in n) > 1e-5
    assert len({loss_bas for _, loss_bas, _ in expected}) == STEPS


if __name__ == "__main__":
    distributed_worker(int(sys.argv[1]), sys.argv[2])
