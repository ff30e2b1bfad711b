"""A network without gates in OpenVINO, on the CPU."""

from __future__ import annotations

import importlib
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch

from mmbas.measure.cpu_class import has_bfloat16
from mmbas.measure.dense_run import DenseRun, ImageForms
from mmbas.measure.onnx_twin import INT8, TwinFiles

HINTS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


def openvino_run(files: TwinFiles, images: ImageForms, precision: str) -> DenseRun:
    """The network in OpenVINO, with as many threads as torch uses.

    Left to itself, OpenVINO computes in bfloat16 where the CPU can; so the precision is pinned.

    Args:
        files: Files of the network.
        images: Images that it is timed on.
        precision: float32 or bfloat16; int8 for a quantised file, whose other layers compute in
            bfloat16 where the CPU can.

    Raises:
        ValueError: If it cannot compute so here.
    """
    if find_spec("openvino") is None:
        raise ValueError("the package openvino is not installed")
    openvino: Any = importlib.import_module("openvino")
    core = openvino.Core()
    rest = "bfloat16" if has_bfloat16() else "float32"
    hint = HINTS[rest if precision == INT8 else precision]
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": hint,
        "ENABLE_CPU_PINNING": False,  # the other libraries' threads may move too
    }
    compiled = core.compile_model(core.read_model(str(files.path(precision))), "CPU", settings)
    chosen = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
    if chosen != hint:
        raise ValueError(f"it computes in {chosen} on this CPU, not in {hint}")
    request = compiled.create_infer_request()

    def infer(array: Any) -> Any:
        results = request.infer([array], share_inputs=True, share_outputs=True)
        return [results[i] for i in range(len(compiled.outputs))]

    return DenseRun("openvino", version("openvino"), precision, infer, images.arrays())
