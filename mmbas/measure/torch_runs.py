"""A network without gates in torch, eager and compiled."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from mmbas.measure.dense_run import LAYOUTS, DenseRun, ImageForms, fastest


def eager_run(plain: nn.Module, images: ImageForms, precision: str) -> DenseRun:
    """The network as it is, in the memory layout in which it runs faster.

    Args:
        plain: With folded normalisation, float32, in evaluation mode, where the images are.
        images: Images that it is timed on.
        precision: Name of a dtype of torch.
    """
    dtype: torch.dtype = getattr(torch, precision)
    runs = {
        layout: DenseRun(
            "torch eager",
            torch.__version__,
            precision,
            _inference(copy.deepcopy(plain).to(dtype).to(memory_format=memory_format)),
            images.tensors(dtype, layout),
            layout,
        )
        for layout, memory_format in LAYOUTS.items()
    }
    calls = {layout: run.call() for layout, run in runs.items()}
    return runs[fastest(calls, repeats=len(images.images), device=images.device)]


def compiled_run(plain: nn.Module, images: ImageForms, precision: str) -> DenseRun:
    """The network compiled by inductor with frozen, prepacked weights, which takes a minute.

    Args:
        plain: With folded normalisation, float32, in evaluation mode, where the images are.
        images: Images that it is timed on, all of one shape; else it is compiled for each.
        precision: Name of a dtype of torch.

    Raises:
        ValueError: If there is no compiler.
    """
    if images.device == "cpu" and not any(map(shutil.which, ("g++", "clang++"))):
        raise ValueError("there is no C++ compiler")
    import torch._inductor.config as inductor

    dtype: torch.dtype = getattr(torch, precision)
    infer = _inference(torch.compile(copy.deepcopy(plain).to(dtype)))
    inputs = images.tensors(dtype)
    with inductor.patch(freezing=True):
        infer(inputs[0])
    return DenseRun("torch compiled", torch.__version__, precision, infer, inputs)


def _inference(model: Any) -> Callable[[Tensor], object]:
    @torch.inference_mode()
    def infer(images: Tensor) -> object:
        return model(images)

    return infer
