"""The part of a detector that can be timed by itself: from images to feature maps."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class FeatureNetwork(nn.Module):
    """Backbone and neck of a detector, as a network from images to feature maps.

    What follows depends on the number of proposals, needs data samples, and is the same with and
    without gates.

    Args:
        detector: Model with ``extract_feat``.
    """

    def __init__(self, detector: Any) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Feature maps for images, shape (N, 3, H, W), one for each level."""
        return tuple(self.detector.extract_feat(images))
