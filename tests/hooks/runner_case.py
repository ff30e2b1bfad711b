"""A real Runner over a tiny gated network, for the tests of hooks."""

import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import Dataset

from mmbas.backbones import GatedResNetCifar
from mmbas.models import GateLossMixin

GATE_LOSSES = dict(
    bas=dict(type="mmbas.BatchShapingLoss", loss_weight=0.75),
    l0=dict(type="mmbas.GateL0Loss", loss_weight=0.05),
)


class RandomImages(Dataset):
    def __init__(self, n=8):
        self.images = torch.randn(n, 3, 8, 8)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return dict(inputs=self.images[i])


class PlainModel(BaseModel):
    def __init__(self, gate=True):
        super().__init__()
        arguments = {} if gate else dict(gate=None)
        self.backbone = GatedResNetCifar(20, **arguments)

    def forward(self, inputs, mode="tensor"):
        return self.loss(inputs)

    def loss(self, inputs):
        return dict(loss_fit=self.backbone(inputs)[0].square().mean())


class GatedModel(GateLossMixin, PlainModel):
    pass


def run(tmp_path, hooks, *, model=None, train_cfg=None, visualizer=None, batch_size=2):
    """Train; four iterations an epoch."""
    runner = Runner(
        model=model or GatedModel(gate_losses=GATE_LOSSES),
        work_dir=str(tmp_path),
        train_dataloader=dict(
            dataset=RandomImages(),
            batch_size=batch_size,
            sampler=dict(type="DefaultSampler", shuffle=False),
            collate_fn=dict(type="default_collate"),
        ),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.01)),
        train_cfg=train_cfg or dict(by_epoch=True, max_epochs=3),
        default_hooks=dict(logger=dict(type="LoggerHook", interval=1)),
        custom_hooks=hooks,
        visualizer=visualizer,
        experiment_name=tmp_path.name,
        default_scope="mmengine",
    )
    runner.train()
    return runner
