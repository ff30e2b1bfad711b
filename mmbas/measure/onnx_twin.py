"""A network without gates as an ONNX file, for the libraries that read one; int8 if asked for."""

from __future__ import annotations

import copy
import importlib
import inspect
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmbas.compress.onnx_export import OPSET, fix_average_pools
from mmbas.measure.dense_run import ImageForms
from mmbas.measure.outputs import tensors_of

INPUT = "images"
INT8 = "int8"
CALIBRATION_BATCHES = 8


class _Twin(nn.Module):
    """A network with a flat tuple of outputs, as an ONNX file has them."""

    def __init__(self, plain: nn.Module) -> None:
        super().__init__()
        self.plain = copy.deepcopy(plain)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tensors_of(self.plain(images))


class TwinFiles:
    """ONNX files of a network, each written when it is asked for the first time.

    Args:
        plain: With folded normalisation, float32, in evaluation mode.
        images: Images that it is timed on.
        folder: Where the files go.
    """

    def __init__(self, plain: nn.Module, images: ImageForms, folder: Path) -> None:
        self.plain, self.images, self.folder = plain, images, folder

    def path(self, precision: str) -> Path:
        """The file for a precision: int8 has one of its own, the others share the float32 one.

        Raises:
            ValueError: If it cannot be written, with the reason.
        """
        path = self.folder / ("int8.onnx" if precision == INT8 else "float32.onnx")
        if not path.exists():
            self._check()
            if precision == INT8:
                quantize(self.path("float32"), self.images.arrays(), path)
            else:
                export_twin(self.plain, self.images.tensors(torch.float32)[0], path)
        return path

    def _check(self) -> None:
        if self.images.device != "cpu":
            raise ValueError("it is timed on the CPU only")
        if not self.images.one_shape:
            raise ValueError("the images have several sizes, its file has one")
        if find_spec("onnx") is None:
            raise ValueError("the package onnx, which writes its file, is not installed")


def export_twin(plain: nn.Module, images: Tensor, path: Path) -> None:
    """Write a network for images of one shape, batch size included.

    Args:
        plain: With folded normalisation, float32, on the CPU, in evaluation mode.
        images: Shape (N, 3, H, W), float32.
        path: File to write.
    """
    twin = _Twin(plain).eval()
    fix_average_pools(twin, (images.shape[2], images.shape[3]))
    # The exporter based on torch.export needs onnxscript, and is not in torch 2.1.
    options: dict[str, Any] = {}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing warns of each size that becomes a constant
        torch.onnx.export(
            twin, (images,), str(path), input_names=[INPUT], opset_version=OPSET, **options
        )


def quantize(path: Path, arrays: Sequence[Any], out: Path) -> None:
    """Write an int8 version by ONNX Runtime's static quantisation.

    Weights are quantised for each channel, activations by their range on a few batches.

    Args:
        path: File of :func:`export_twin`.
        arrays: Batches of images, float32, shape as the file takes them.
        out: File to write.

    Raises:
        ValueError: If the package onnxruntime is not installed.
    """
    if find_spec("onnxruntime") is None:
        raise ValueError("the package onnxruntime, which quantises, is not installed")
    quantization: Any = importlib.import_module("onnxruntime.quantization")

    class Reader(quantization.CalibrationDataReader):
        rounds = iter(arrays[:CALIBRATION_BATCHES])

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.rounds, None)
            return None if batch is None else {INPUT: batch}

    prepared = path.with_suffix(".prepared.onnx")
    quantization.shape_inference.quant_pre_process(path, prepared, skip_symbolic_shape=True)
    quantization.quantize_static(
        prepared,
        out,
        Reader(),
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,  # what x86 multiplies with signed weights
    )
