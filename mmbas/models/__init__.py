"""Glue to the hosts; each model is there when its host is installed."""

from importlib.util import find_spec

from mmbas.models.gate_loss_mixin import GateLossMixin

__all__ = ["GateLossMixin"]

if find_spec("mmpretrain") is not None:
    from mmbas.models.gated_classifier import GatedImageClassifier  # noqa: F401

    __all__.append("GatedImageClassifier")
if find_spec("mmseg") is not None:
    from mmbas.models.gated_segmentor import GatedEncoderDecoder  # noqa: F401

    __all__.append("GatedEncoderDecoder")
