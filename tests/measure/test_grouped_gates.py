"""Random gates of the benchmarks where several channels share a decision."""

import torch

from mmbas.backbones import GatedResNet
from mmbas.gates import named_gates
from mmbas.measure.contenders import random_gate_batches


def test_gates_of_a_group_open_together():
    torch.manual_seed(0)
    gate = dict(type="mmbas.ChannelGate", group=4, always_open=(0, 1, 2, 3))
    model = GatedResNet(18, num_stages=1, out_indices=(0,), gate=gate).eval()
    batch = next(random_gate_batches(model, (3, 3, 8, 8), open_fraction=0.5, vary=0.1))
    for name, each in named_gates(model).items():
        logits = batch.logits[name]
        assert logits.shape == (3, each.num_gates)
        groups = logits[:, 4:].unflatten(1, (-1, 4))
        assert (groups == groups[..., :1]).all()
        assert 0 < (groups > 0).float().mean() < 1
