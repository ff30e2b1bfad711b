"""MMPretrain's image classifier with gate losses and MACs per image."""

from __future__ import annotations

from mmpretrain.models import ImageClassifier

from mmbas.models.gate_loss_mixin import GateLossMixin
from mmbas.registry import MODELS


@MODELS.register_module()
class GatedImageClassifier(GateLossMixin, ImageClassifier):
    """``mmpretrain.ImageClassifier`` with ``gate_losses``; see :class:`GateLossMixin`."""
