"""Loads a trained network by its name, from a file of the package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope

# One file for each network, written by tools/pack_weights.py: plain tensors, numbers and texts.
WEIGHTS = Path(__file__).parent / "weights"


def network_names() -> list[str]:
    """Names that :func:`load` knows, sorted.

    Example:
        >>> from mmbas.zoo import network_names
        >>> "resnet20-bas-digits" in network_names()
        True
    """
    return sorted(path.stem for path in WEIGHTS.glob("*.pth"))


def load(name: str) -> BaseModel:
    """A trained gated network in evaluation mode, on the CPU.

    Its weights are a file of this package, read without running any code that is in it. What they
    were trained on and what they reach stands in ``model-index.yml``.

    Args:
        name: One of :func:`network_names`.

    Returns:
        The model. Its attribute ``dataset_meta`` holds ``classes``, the names of the classes, and
        ``image_size``, height and width of the images that it was trained on.

    Raises:
        ValueError: If there is no network of this name.

    Example:
        A class, and what it cost, of an image as a data loader gives it::

            model = mmbas.load("resnet20-bas-digits")
            (sample,) = model.test_step(dict(inputs=[image]))  # uint8, shape (3, 32, 32)
            sample.pred_label, sample.macs / sample.dense_macs, sample.gates
    """
    names = network_names()
    if name not in names:
        raise ValueError(f"expected the name of a trained network, {names}, but got {name!r}")
    content = torch.load(WEIGHTS / f"{name}.pth", map_location="cpu", weights_only=True)
    with DefaultScope.overwrite_default_scope(content["default_scope"]):
        model: Any = MODELS.build(content["model"])
    model.load_state_dict(content["state_dict"])  # float16 in the file, float32 in the model
    model.dataset_meta = content["dataset_meta"]
    return model.eval()
