"""Small networks of every method, as their configs build them."""

from __future__ import annotations

from typing import Any

import torch

from mmbas.backbones import GatedResNetCifar

NETWORK = dict(type="mmbas.GatedResNetCifar", depth=8, base_channels=4, gate=None)

# Arguments of the backbone by method.
METHODS: dict[str, dict[str, Any]] = {
    "aig": dict(
        gate_positions="branch",
        gate=dict(type="mmbas.ChannelGate", temperature=1.0, init_weight_std=0.5),
    ),
    "skipnet": dict(
        gate_positions="block",
        plain_blocks=(0,),
        gate=dict(type="mmbas.RecurrentGate"),
        gater=dict(type="mmbas.RecurrentGater"),
    ),
    "skipnet-ff": dict(
        gate_positions="block", plain_blocks=(0,), gate=dict(type="mmbas.ConvGate", kind="II")
    ),
    "fbs": dict(gate_positions="both", gate=dict(type="mmbas.TopKGate", density=0.5)),
    "fbs-all": dict(gate_positions="all", gate=dict(type="mmbas.TopKGate", density=0.5)),
    "gaternet": dict(
        gate_positions="out",
        gate=dict(type="mmbas.GivenGate", sampler=dict(type="mmbas.SemanticHash")),
        gater=dict(type="mmbas.ImageGater", network=NETWORK, bottleneck=4),
    ),
    "dgnet": dict(gate_positions="tiles", gate_grid=(4, 2, 1), gate=dict(type="mmbas.DualGate")),
    "laud-layer": dict(
        gate_positions="branch", gate=dict(type="mmbas.LinearGate", init_open_prob=0.6)
    ),
    "sgad-style": dict(
        gate_positions="branch",
        gate=dict(type="mmbas.GivenGate", soft=True),
        gater=dict(type="mmbas.ImageGater", network=NETWORK, bottleneck=4, norm=True),
    ),
}


def network(method: str, **arguments: Any) -> GatedResNetCifar:
    """A ResNet-8 of 4 base channels; images of 8x8 and multiples fit."""
    return GatedResNetCifar(8, base_channels=4, **{**METHODS[method], **arguments})


def half_open(model: GatedResNetCifar) -> GatedResNetCifar:
    """Spread the first decisions, so that images differ."""
    generator = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        if "gate" in name and parameter.ndim > 1 and "network" not in name:
            parameter.data += torch.randn(parameter.shape, generator=generator)
        elif "gate" in name and name.endswith("bias"):
            parameter.data.mul_(0.2)
    return model
