"""One of two processes that train gated networks together; started by test_distributed.py.

``python tests/ddp_worker.py RANK FOLDER`` writes what it saw to FOLDER/rank<RANK>.json.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.structures import DataSample
from torch import nn

STEPS = 2  # a parameter that got no gradient is noticed in the next step

# Arguments of the backbone, or of the losses, by name of the case.
CASES: dict[str, dict[str, Any]] = {
    "both": dict(depth=50, gate_positions="both"),
    "conv1": dict(depth=50, gate_positions="conv1"),
    "conv2": dict(depth=50, gate_positions="conv2"),
    "closed": dict(depth=18),
    "frozen_half": dict(depth=18, frozen_stages=2, norm_eval=True),
    "frozen_all": dict(depth=18, frozen_stages=4),
    "checkpointed": dict(depth=18, with_cp=True),
    "losses_off": dict(depth=18),
    "plain": dict(depth=18, gate=None),
    "unused": dict(depth=18),
}


def build(name: str) -> nn.Module:
    """A classifier of the case, the same in both processes."""
    torch.manual_seed(0)
    backbone = dict(type="mmbas.GatedResNet", num_stages=4, **CASES[name])
    losses = dict(
        bas=dict(type="mmbas.BatchShapingLoss", gather=name == "both"),
        l0=dict(type="mmbas.GateL0Loss"),
    )
    channels = 2048 if backbone["depth"] == 50 else 512
    model = MODELS.build(
        dict(
            type="mmbas.GatedImageClassifier",
            backbone=backbone,
            neck=dict(type="GlobalAveragePooling"),
            head=dict(
                type="LinearClsHead",
                num_classes=3,
                in_channels=channels,
                loss=dict(type="CrossEntropyLoss"),
            ),
            gate_losses=None if name == "plain" else losses,
        )
    )
    model.init_weights()
    if name.startswith("closed"):
        for key, parameter in model.named_parameters():
            if key.endswith(".gate.fc2.bias"):
                nn.init.constant_(parameter, -20.0)
    if name == "losses_off":
        for loss in model.gate_losses.values():
            loss.factor = 0.0
    if name == "unused":
        model.never_used = nn.Linear(2, 2)
    return model


def train(name: str, rank: int) -> dict[str, Any]:
    """Losses of each step, the parameters without a gradient, and a sum over the weights."""
    model = build(name)
    wrapped: Any = MMDistributedDataParallel(module=model, broadcast_buffers=False)
    optim_wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01))
    generator = torch.Generator().manual_seed(rank)
    losses = []
    for _ in range(STEPS):
        images = torch.randn(4, 3, 32, 32, generator=generator)
        samples = [DataSample().set_gt_label(i % 3) for i in range(4)]
        log = wrapped.train_step(dict(inputs=images, data_samples=samples), optim_wrapper)
        losses.append({key: float(value) for key, value in log.items()})
    trained = {k: p for k, p in model.named_parameters() if p.requires_grad}
    gates = [gates.flatten().float() for gates in model.last_gates.values()]
    return dict(
        losses=losses,
        trained=len(trained),
        checksum=[float(p.detach().double().sum()) for p in model.parameters()],
        open_fraction=float(torch.cat(gates).mean()) if gates else 1.0,
    )


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    init_default_scope("mmpretrain")
    MMLogger.get_instance("mmengine", log_level="ERROR")  # else every initialised weight is printed
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", store, rank=rank, world_size=2)
    results: dict[str, Any] = {}
    for name in CASES:
        try:
            results[name] = train(name, rank)
        except RuntimeError:
            results[name] = dict(error=traceback.format_exc())
    (folder / f"rank{rank}.json").write_text(json.dumps(results), encoding="utf-8")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
