"""The one counter of MACs and parameters."""

from mmbas.costs.mac_count import MACCount, count_macs, uncounted_modules

__all__ = ["MACCount", "count_macs", "uncounted_modules"]
