"""The one counter of MACs and parameters."""

from mmbas.costs.mac_count import MACCount, count_macs, drop_counting_hooks, uncounted_modules

__all__ = ["MACCount", "count_macs", "drop_counting_hooks", "uncounted_modules"]
