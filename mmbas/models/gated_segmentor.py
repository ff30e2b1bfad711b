"""MMSegmentation's encoder-decoder with gate losses and MACs per image."""

from __future__ import annotations

from mmseg.models import EncoderDecoder

from mmbas.models.gate_loss_mixin import GateLossMixin
from mmbas.registry import MODELS


@MODELS.register_module()
class GatedEncoderDecoder(GateLossMixin, EncoderDecoder):
    """``mmseg.EncoderDecoder`` with ``gate_losses``; see :class:`GateLossMixin`."""
