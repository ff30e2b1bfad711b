"""mmbas: channel gated networks and batch-shaping for OpenMMLab."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmengine.model import BaseModel

__version__ = "0.1.0"


def load(name: str) -> BaseModel:
    """A trained gated network by name; see :func:`mmbas.zoo.load`."""
    from mmbas.zoo import load as load_network  # late: importing mmbas imports nothing else

    return load_network(name)
