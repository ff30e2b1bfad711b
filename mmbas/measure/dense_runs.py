"""The network without gates in every library and precision that a user could run it in."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from mmbas.measure.dense_run import DenseRun, ImageForms
from mmbas.measure.onnx_twin import INT8, TwinFiles
from mmbas.measure.onnxruntime_run import onnxruntime_run
from mmbas.measure.openvino_run import openvino_run
from mmbas.measure.outputs import relative_difference
from mmbas.measure.torch_runs import compiled_run, eager_run

LIBRARIES = ("torch", "onnxruntime", "openvino")
# Largest difference from float32, relative to the largest output: beyond it a run is no rival.
TOLERANCE = {"float32": 1e-3, "float16": 0.02, "bfloat16": 0.1}


@dataclass(frozen=True)
class DenseSettings:
    """Choice of the runs of the network without gates.

    Attributes:
        precisions: Names of dtypes of torch, and ``int8``.
        libraries: Some of ``LIBRARIES``; all but torch run on the CPU only.
        compiled: True to compile it with torch too, which takes a minute for each precision.
    """

    precisions: tuple[str, ...]
    libraries: tuple[str, ...] = LIBRARIES
    compiled: bool = True


@dataclass(frozen=True)
class DenseRuns:
    """The runs of one network that are ready to be timed, and why others are not.

    Attributes:
        runs: Runs by name.
        differences: Largest difference from eager float32 over the largest output, by name.
        left_out: Reason for which a run cannot be timed, by name.
    """

    runs: dict[str, DenseRun] = field(default_factory=dict)
    differences: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def dense_runs(plain: nn.Module, images: Sequence[Tensor], settings: DenseSettings) -> DenseRuns:
    """Prepare a network without gates in every library and precision, and check what it computes.

    Args:
        plain: With folded normalisation, float32, in evaluation mode.
        images: Batches of shape (N, 3, H, W), float32, where the network is.
        settings: Choice of the runs.
    """
    found, forms = DenseRuns(), ImageForms(images)
    with torch.inference_mode():
        reference = plain(images[0])
    with tempfile.TemporaryDirectory() as folder:
        files = TwinFiles(plain, forms, Path(folder))
        for name, prepare in _recipes(plain, forms, files, settings).items():
            try:
                run = prepare()
            except Exception as error:  # noqa: BLE001  whatever a library raises, others run
                found.left_out[name] = _one_line(error)
                continue
            difference = relative_difference(run.infer(run.inputs[0]), reference)
            if not difference <= TOLERANCE.get(run.precision, float("inf")):
                found.left_out[name] = f"its output is off by {difference:.1e} of the largest one"
                continue
            found.runs[name], found.differences[name] = run, difference
    return found


def _recipes(
    plain: nn.Module, images: ImageForms, files: TwinFiles, settings: DenseSettings
) -> dict[str, Callable[[], DenseRun]]:
    """Functions that prepare a run, by name."""
    recipes: dict[str, Callable[[], DenseRun]] = {}
    for precision in settings.precisions:
        if "torch" in settings.libraries and precision != INT8:
            recipes[f"torch eager {precision}"] = partial(eager_run, plain, images, precision)
            if settings.compiled:
                name = f"torch compiled {precision}"
                recipes[name] = partial(compiled_run, plain, images, precision)
        for library, prepare in (("onnxruntime", onnxruntime_run), ("openvino", openvino_run)):
            if library in settings.libraries:
                recipes[f"{library} {precision}"] = partial(prepare, files, images, precision)
    return recipes


def _one_line(error: Exception) -> str:
    """Text of an error without the places in a library's source."""
    lines = [line.strip() for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith("Exception from")]
    return " ".join(told)[:200] or type(error).__name__
