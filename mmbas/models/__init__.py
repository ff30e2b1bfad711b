"""Glue to the hosts; each model is there when its host is installed."""

from importlib.util import find_spec

from mmbas.models.gate_loss_mixin import GateLossMixin
from mmbas.models.gated_model import GatedModel
from mmbas.models.shaped_model import ShapedModel, ShapingMixin

__all__ = ["GateLossMixin", "GatedModel", "ShapedModel", "ShapingMixin"]

if find_spec("mmpretrain") is not None:
    from mmbas.models.distilled_classifier import DistilledClassifier
    from mmbas.models.gated_classifier import GatedImageClassifier

    __all__ += ["DistilledClassifier", "GatedImageClassifier"]
if find_spec("mmseg") is not None:
    from mmbas.models.gated_seg_tta import GatedSegTTAModel
    from mmbas.models.gated_segmentor import GatedEncoderDecoder

    __all__ += ["GatedEncoderDecoder", "GatedSegTTAModel"]
