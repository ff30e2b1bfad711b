"""Trained gated networks that come with the package."""

from mmbas.zoo.networks import load, network_names

__all__ = ["load", "network_names"]
