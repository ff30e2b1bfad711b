"""Gated backbones by torch's own operators, on any device: the path for what has no kernel."""

from mmbas.sliced.torch_path.torch_backbone import TorchBackbone

__all__ = ["TorchBackbone"]
