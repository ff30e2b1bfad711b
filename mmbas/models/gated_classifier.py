"""MMPretrain's image classifier with gate losses and MACs per image."""

from __future__ import annotations

from typing import Any

import torch
from mmpretrain.models import ImageClassifier
from torch import Tensor
from torch.nn import functional as F

from mmbas.models.gate_loss_mixin import OF_EACH_IMAGE, GateLossMixin
from mmbas.registry import MODELS


@MODELS.register_module()
class GatedImageClassifier(GateLossMixin, ImageClassifier):
    """``mmpretrain.ImageClassifier`` with ``gate_losses``; see :class:`GateLossMixin`."""

    def host_losses(self, inputs: Tensor, data_samples: Any, **kwargs: Any) -> dict[str, Any]:
        """The losses of the head; with the cross entropy of each image where a gate loss asks."""
        gate_losses: Any = self.gate_losses.values()
        if not any(gate_loss.needs_image_losses for gate_loss in gate_losses):
            return super().host_losses(inputs, data_samples, **kwargs)
        features = self.extract_feat(inputs)
        losses: dict[str, Any] = dict(self.head.loss(features, data_samples, **kwargs))
        labels = torch.cat([sample.gt_label for sample in data_samples]).to(inputs.device)
        with torch.no_grad():
            logits = self.head(features).float()
            losses[OF_EACH_IMAGE] = F.cross_entropy(logits, labels, reduction="none")
        return losses
