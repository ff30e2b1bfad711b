"""One of two processes that train every method together; started by test_rival_training.py.

``python tests/rival_worker.py RANK FOLDER`` writes gradients to FOLDER/rank<RANK>.pt.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from helpers import end_worker
from mmengine.model import MMDistributedDataParallel
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.structures import DataSample
from rival_methods import METHODS, half_open
from torch.nn.modules.batchnorm import _BatchNorm

from mmbas.gates import SemanticHash, named_gates

HARD, DRAWN = dict(type="mmbas.HardStep"), dict(type="mmbas.Bernoulli")
RATE = dict(type="mmbas.TargetRateLoss", target=0.4, loss_weight=2.0)
MACS = dict(type="mmbas.TargetMACsLoss", target=0.4, loss_weight=5.0, noise=True)
BOUNDS = dict(type="mmbas.DensityBoundsLoss", target=0.4)
# Sampler, where it is not the method's own, and gate losses.
TRAINED: dict[str, tuple[dict[str, Any] | None, dict[str, Any]]] = {
    "aig": (None, dict(rate=RATE)),
    "skipnet": (HARD, {}),
    "skipnet-rl": (DRAWN, dict(policy=dict(type="mmbas.PolicyGradientLoss", loss_weight=1.0))),
    "fbs": (None, dict(l1=dict(type="mmbas.GateL1Loss", of="scales"))),
    "gaternet": (None, dict(l1=dict(type="mmbas.GateL1Loss"))),
    "dgnet": (None, dict(target=MACS, bounds=BOUNDS)),
    "laud-layer": (None, dict(target=MACS, bounds={**BOUNDS, "of": "macs"})),
    "sgad-style": (None, dict(target=MACS)),
}


def classifier(method: str) -> Any:
    """A classifier of the method with its losses, the same wherever it is built."""
    torch.manual_seed(0)
    sampler, losses = TRAINED[method]
    arguments = dict(METHODS[method.removesuffix("-rl")])
    if sampler is not None:
        arguments["gate"] = {**arguments["gate"], "sampler": sampler}
    backbone = dict(type="mmbas.GatedResNetCifar", depth=8, base_channels=4, **arguments)
    model = MODELS.build(
        dict(
            type="mmbas.GatedImageClassifier",
            backbone=backbone,
            neck=dict(type="mmpretrain.GlobalAveragePooling"),
            head=dict(type="mmpretrain.LinearClsHead", num_classes=3, in_channels=16),
            gate_losses=losses,
        )
    )
    model.init_weights()
    half_open(model.backbone)
    return model


def gradients(method: str, rows: slice) -> dict[str, torch.Tensor]:
    """Gradients of one step with the images ``rows`` of the batch; they meet in the losses alone.

    So norm layers are in evaluation and nothing is drawn; float64, so that no rounding differs.
    """
    model = classifier(method).double().train()
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
        if isinstance(module, SemanticHash):
            module.hard_share = 1.0
    for gate in named_gates(model).values():
        gate.noise_scale.zero_()
    wrapped: Any = model
    if dist.is_initialized():
        wrapped = MMDistributedDataParallel(module=model, broadcast_buffers=False)
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(7)).double()
    labels = [DataSample().set_gt_label(label) for label in (0, 1, 2, 0)]
    losses = wrapped(images[rows], labels[rows], mode="loss")
    model.parse_losses(losses)[0].backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def main(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    init_default_scope("mmpretrain")
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    rows = slice(2 * rank, 2 * rank + 2)
    torch.save({name: gradients(name, rows) for name in TRAINED}, folder / f"rank{rank}.pt")
    end_worker()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
