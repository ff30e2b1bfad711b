"""One of two processes that train gated networks together; started by test_distributed.py.

``python tests/ddp_worker.py RANK FOLDER`` writes what it saw to FOLDER/rank<RANK>.json and
FOLDER/recipe<RANK>.pt.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from helpers import end_worker
from mmengine.logging import MMLogger
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.structures import DataSample
from torch import Tensor, nn

PLAIN_CHECKPOINT = "plain.pth"
TARGET = 0.4  # of the distilled case, whose gates are half open at the beginning
STEPS = 2  # a parameter that got no gradient is noticed in the next step

TWO_STAGES: dict[str, Any] = dict(depth=50, num_stages=2, out_indices=(1,))
# Arguments of the backbone by name of the case; each returns 512 channels.
CASES: dict[str, dict[str, Any]] = {
    "both": dict(TWO_STAGES, gate_positions="both"),
    "conv1": dict(TWO_STAGES, gate_positions="conv1"),
    "conv2": dict(TWO_STAGES, gate_positions="conv2"),
    "closed": dict(depth=18),
    "frozen_half": dict(depth=18, frozen_stages=2, norm_eval=True),
    "frozen_all": dict(depth=18, frozen_stages=4),
    "checkpointed": dict(depth=18, with_cp=True),
    "losses_off": dict(depth=18),
    "plain": dict(depth=18, gate=None),
    "distilled": dict(depth=18),
    "unused": dict(depth=18),
}


def build(name: str, folder: Path) -> Any:
    """A classifier of the case, the same in both processes."""
    torch.manual_seed(0)
    backbone = dict(type="mmbas.GatedResNet", **CASES[name])
    losses = dict(
        bas=dict(type="mmbas.BatchShapingLoss", gather=name in ("both", "distilled")),
        l0=dict(type="mmbas.GateL0Loss"),
    )
    config = dict(
        type="mmbas.GatedImageClassifier",
        backbone=backbone,
        neck=dict(type="GlobalAveragePooling"),
        head=dict(
            type="LinearClsHead",
            num_classes=3,
            in_channels=512,
            loss=dict(type="CrossEntropyLoss"),
        ),
        gate_losses=None if name == "plain" else losses,
    )
    model = MODELS.build(distilled(config, folder) if name == "distilled" else config)
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


def distilled(config: dict[str, Any], folder: Path) -> dict[str, Any]:
    """``config`` with the recipe of a target: a plain network starts the student and teaches it."""
    weights = dict(type="Pretrained", checkpoint=str(folder / PLAIN_CHECKPOINT))
    plain = {**config["backbone"], "gate": None}
    target = dict(type="mmbas.TargetMACsLoss", target=TARGET)
    return dict(
        config,
        type="mmbas.DistilledClassifier",
        gate_losses=dict(bas=config["gate_losses"]["bas"], target=target),
        teacher=dict(config, backbone=plain, gate_losses=None, init_cfg=weights),
        init_cfg=weights,
    )


def write_plain_checkpoint(folder: Path) -> None:
    """What the teacher and its student start from, with statistics of normalisation that fit."""
    model = build("plain", folder).train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = 1.0
    model(torch.randn(8, 3, 32, 32), mode="tensor")
    torch.save({"meta": {}, "state_dict": model.state_dict()}, folder / PLAIN_CHECKPOINT)


def samples(labels: list[int]) -> list[DataSample]:
    return [DataSample().set_gt_label(label) for label in labels]


def train(name: str, rank: int, folder: Path) -> dict[str, Any]:
    """Losses of each step, the parameters without a gradient, and a sum over the weights."""
    model = build(name, folder)
    wrapped: Any = MMDistributedDataParallel(module=model, broadcast_buffers=False)
    optim_wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01))
    generator = torch.Generator().manual_seed(rank)
    losses = []
    for _ in range(STEPS):
        images = torch.randn(4, 3, 32, 32, generator=generator)
        data = dict(inputs=images, data_samples=samples([i % 3 for i in range(4)]))
        log = wrapped.train_step(data, optim_wrapper)
        losses.append({key: float(value) for key, value in log.items()})
    trained = {k: p for k, p in model.named_parameters() if p.requires_grad}
    gates = [gates.flatten().float() for gates in model.last_gates.values()]
    return dict(
        losses=losses,
        trained=len(trained),
        checksum=[float(p.detach().double().sum()) for p in model.parameters()],
        open_fraction=float(torch.cat(gates).mean()) if gates else 1.0,
        changed_teacher=changed_teacher(model, folder) if name == "distilled" else [],
    )


def changed_teacher(model: Any, folder: Path) -> list[str]:
    """What of the teacher has a gradient or is not as it was loaded."""
    loaded = torch.load(folder / PLAIN_CHECKPOINT)["state_dict"]
    state = model.teacher.state_dict()
    assert state.keys() == loaded.keys()
    changed = [name for name, value in loaded.items() if not torch.equal(state[name], value)]
    return changed + [n for n, p in model.teacher.named_parameters() if p.grad is not None]


def recipe_steps(folder: Path, rows: slice) -> dict[str, Any]:
    """Losses, gradients and weights of the distilled case, with the images ``rows`` of each batch.

    Norm layers are in evaluation and gates without noise, so that images meet in the losses alone;
    float64, so that what differs is no rounding.
    """
    model = build("distilled", folder).double().train()
    model.teacher.double()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    wrapped: Any = model
    if dist.is_initialized():
        wrapped = MMDistributedDataParallel(module=model, broadcast_buffers=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(7)
    logs: list[dict[str, float]] = []
    gradients: list[dict[str, Tensor]] = []
    with mock.patch("mmbas.gates.binary_concrete.logistic_noise_like", torch.zeros_like):
        for _ in range(STEPS):
            images = torch.randn(4, 3, 32, 32, generator=generator, dtype=torch.float64)
            labels = samples([0, 1, 2, 0][rows])
            losses = wrapped(images[rows], labels, mode="loss")
            total, log = model.parse_losses(losses)
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            logs.append({key: value.item() for key, value in log.items()})
            gradients.append({k: p.grad.clone() for k, p in model.named_parameters()})
    return dict(logs=logs, gradients=gradients, state=model.state_dict())


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    init_default_scope("mmpretrain")
    MMLogger.get_instance("mmengine", log_level="ERROR")  # else every initialised weight is printed
    store = f"file://{folder}/store"
    dist.init_process_group("gloo", store, rank=rank, world_size=2)
    results: dict[str, Any] = {}
    for name in CASES:
        try:
            results[name] = train(name, rank, folder)
        except RuntimeError:
            results[name] = dict(error=traceback.format_exc())
    (folder / f"rank{rank}.json").write_text(json.dumps(results), encoding="utf-8")
    torch.save(recipe_steps(folder, slice(2 * rank, 2 * rank + 2)), folder / f"recipe{rank}.pt")
    end_worker()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
