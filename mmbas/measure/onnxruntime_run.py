"""A network without gates in ONNX Runtime, on the CPU."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec

from mmbas.compress.onnx_export import open_session
from mmbas.measure.dense_run import DenseRun, ImageForms
from mmbas.measure.onnx_twin import INPUT, INT8, TwinFiles


def onnxruntime_run(files: TwinFiles, images: ImageForms, precision: str) -> DenseRun:
    """The network in ONNX Runtime, with as many threads as torch uses.

    Args:
        files: Files of the network.
        images: Images that it is timed on.
        precision: float32 or int8.

    Raises:
        ValueError: If it cannot compute so here.
    """
    if find_spec("onnxruntime") is None:
        raise ValueError("the package onnxruntime is not installed")
    if precision not in ("float32", INT8):
        raise ValueError(f"its operators for the CPU have no {precision} convolution")
    session = open_session(files.path(precision))
    return DenseRun(
        "onnxruntime",
        version("onnxruntime"),
        precision,
        lambda array: session.run(None, {INPUT: array}),
        images.arrays(),
    )
