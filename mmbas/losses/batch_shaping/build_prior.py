"""Priors from their configs."""

from __future__ import annotations

from typing import Any

from mmbas.losses.batch_shaping.prior import Prior
from mmbas.registry import MODELS


def build_prior(prior: Prior | dict[str, Any]) -> Prior:
    """A prior from itself or its config.

    Raises:
        TypeError: If it is none.
    """
    built = MODELS.build(prior) if isinstance(prior, dict) else prior
    if not isinstance(built, Prior):
        raise TypeError(
            "expected prior to be a distribution, such as dict(type='mmbas.BetaPrior', a=0.6, "
            f"b=0.4), but got {type(built).__name__}"
        )
    return built
