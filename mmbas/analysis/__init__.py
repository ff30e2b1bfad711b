"""Pictures of what the gates do."""

from mmbas.analysis.extreme_macs import draw_extremes, extremes

__all__ = ["draw_extremes", "extremes"]
