"""Export of a model to ONNX, images in, logits (and gates, and labels) out.

The conditional network is exported masked: every channel is computed and multiplied by its gate,
since ONNX has no convolution over a list of channels. So the file gives the right result, but no
gated network is faster for it; a statically reduced one (:mod:`mmbas.compress.reduction`) is.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import itertools
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from mmengine.structures import BaseDataElement
from torch import Tensor, nn
from torch.nn import functional as F

from mmbas.compress.prediction import check_predictions, compute_logits, prediction_of
from mmbas.gates import named_gates, record_gate_outputs

# Known to every ONNX Runtime since 1.12 and to the exporters of torch 2.1 to 2.15.
OPSET = 17
# Gate logits this close to 0 may change sign with the order of additions.
UNDECIDED = 1e-5
# Whatever torch's defaults are.
FLOAT: dict[str, Any] = dict(dtype=torch.float32, device="cpu")


class ExportedNetwork(nn.Module):
    """Network from images as the data loader gives them to the outputs of the file.

    Channel order and normalisation of the model's data preprocessor are part of the network, and
    so is the test mode of a segmentor: sliding windows slide. Its logits have the images' size.

    Outputs, in this order:

    - ``logits``: Shape (N, classes), or (N, classes, H, W) of a segmentor.
    - ``gates``: With ``with_gates``: which are open, in any window, shape (N, all gates), bool.
    - ``labels``: Where the prediction is no argmax: shape (N, classes), or (N, H, W), bool; see
      :func:`mmbas.compress.prediction.prediction_of`.

    Args:
        model: A classifier or segmentor of the hosts; is not changed.
        image_size: Height and width, fixed from now on.
        with_gates: Also return which gates are open.

    Raises:
        ValueError: If the gates are wanted but there are none, the data preprocessor does more to
            images of this size than order channels and normalise, or the model's own predictions
            do not follow from these outputs.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, model: Any, *, image_size: tuple[int, int], with_gates: bool = False
    ) -> None:
        super().__init__()
        if with_gates and not named_gates(model):
            raise ValueError("expected a model with gates to export them, but got one without")
        self.model = copy.deepcopy(model).eval()
        self.image_size = image_size
        self.with_gates = with_gates
        mean, std = (getattr(model.data_preprocessor, name, None) for name in ("mean", "std"))
        self.register_buffer("mean", torch.zeros(3, 1, 1, **FLOAT) if mean is None else mean)
        self.register_buffer("std", torch.ones(3, 1, 1, **FLOAT) if std is None else std)
        self.flip_channels = self._flips_channels(model.data_preprocessor)
        self.prediction = prediction_of(model)
        with torch.no_grad():
            inputs = self.preprocess(torch.rand(1, 3, *image_size, **FLOAT) * 255)
            check_predictions(self.model, inputs, compute_logits(self.model, inputs))
        fix_average_pools(self, image_size)

    @property
    def output_names(self) -> list[str]:
        """Names of the outputs, in order."""
        gates = ["gates"] if self.with_gates else []
        return ["logits", *gates, *(["labels"] if self.prediction.labels else [])]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The outputs for ``images``, shape (N, 3, H, W), float32, 0 to 255."""
        with record_gate_outputs(self.model) as records:
            logits = compute_logits(self.model, self.preprocess(images))
        outputs = [logits]
        if self.with_gates:
            opened = [
                torch.stack([output.gates > 0 for output in windows]).any(dim=0)
                for windows in records.values()
            ]
            outputs.append(torch.cat(opened, dim=1))
        if self.prediction.labels:
            outputs.append(self.prediction.labels(logits))
        return tuple(outputs)

    def preprocess(self, images: Tensor) -> Tensor:
        """Apply the steps of the data preprocessor to ``images``."""
        return ((images.flip(1) if self.flip_channels else images) - self.mean) / self.std

    def _flips_channels(self, preprocessor: Any) -> bool:
        """Tell whether the preprocessor swaps BGR and RGB; the hosts name that differently."""
        images = torch.rand(1, 3, *self.image_size, **FLOAT) * 255
        # Samples are what a padding preprocessor of MMSegmentation notes its padding on.
        data = {"inputs": list(images), "data_samples": [BaseDataElement()]}
        expected = preprocessor(data)["inputs"]
        for self.flip_channels in (False, True):
            own = self.preprocess(images)
            if own.shape == expected.shape and torch.allclose(own, expected, atol=1e-4):
                return self.flip_channels
        raise ValueError(
            "expected a data preprocessor that orders channels and normalises, but got one that "
            f"makes {tuple(expected.shape)} of {tuple(images.shape)} or computes otherwise; choose "
            "an image size that it does not pad"
        )


def export_onnx(network: ExportedNetwork, path: str | Path) -> None:
    """Write ``network`` with input ``images``, any batch size, and its outputs by their names.

    Raises:
        ValueError: If the package onnx is not installed, or torch cannot export a layer.
    """
    images = torch.rand(2, 3, *network.image_size, **FLOAT) * 255
    export_module(network, path, (images,), ["images"], network.output_names)


def export_module(
    module: nn.Module,
    path: str | Path,
    inputs: tuple[Tensor, ...],
    input_names: list[str],
    output_names: list[str],
) -> None:
    """Write a module for any batch size.

    Args:
        module: Module in float32 on the CPU.
        path: File to write.
        inputs: Two images, or what stands for them.
        input_names: Names of the inputs.
        output_names: Names of the outputs.

    Raises:
        ValueError: If the package onnx is not installed, or torch cannot export a layer.
    """
    require_packages("onnx")
    # The exporter based on torch.export needs onnxscript, and is not in torch 2.1.
    options: dict[str, Any] = {}
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False
    # The exporter makes tensors on torch's default device, whatever that is.
    with warnings.catch_warnings(), torch.no_grad(), torch.device("cpu"):
        # Tracing warns of each size that becomes a constant; only the batch size shall not.
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                module.eval(),
                inputs,
                str(path),
                input_names=input_names,
                output_names=output_names,
                opset_version=OPSET,
                dynamic_axes={name: {0: "batch"} for name in [*input_names, *output_names]},
                **options,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(
                f"expected layers that torch exports to ONNX, but got: {reason}"
            ) from error


def open_session(path: str | Path, *, operators: Path | None = None) -> Any:
    """The file in ONNX Runtime, on the CPU with as many threads as torch uses.

    Args:
        path: The file.
        operators: Library of operators that ONNX Runtime does not know.

    Raises:
        ValueError: If the package onnxruntime is not installed.
    """
    require_packages("onnxruntime")
    onnxruntime: Any = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Its threads rest between calls, else they take the cores from what is timed in turns with it.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if operators is not None:
        options.register_custom_ops_library(str(operators))
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@torch.no_grad()
def max_relative_difference(
    network: ExportedNetwork, session: Any, images: Tensor
) -> tuple[float, int]:
    """Largest difference of the logits in ONNX Runtime from torch's, over the largest logit.

    Images on which a gate logit is 0 up to rounding are left out: either decision is right there.

    Args:
        network: Network that was exported.
        session: Session of :func:`open_session`.
        images: Shape (N, 3, H, W), float32, 0 to 255.

    Returns:
        The difference, and the number of images compared.

    Raises:
        ValueError: If the gates of such an image differ.
    """
    with record_gate_outputs(network) as records:
        expected = network(images)
    outputs = [torch.from_numpy(value) for value in session.run(None, {"images": images.numpy()})]
    decided = torch.ones(len(images), dtype=torch.bool, device="cpu")
    for output in itertools.chain.from_iterable(records.values()):
        decided &= output.logits.abs().min(dim=1).values > UNDECIDED
    if not decided.any():
        return 0.0, 0
    if network.with_gates and not torch.equal(outputs[1][decided], expected[1][decided]):
        raise ValueError("expected the gates of torch in ONNX Runtime, but got others")
    difference = (outputs[0] - expected[0])[decided].abs().max()
    return float(difference / expected[0].abs().max()), int(decided.sum())


def require_packages(*packages: str) -> None:
    """Say how to install what is missing.

    Raises:
        ValueError: If a package is missing.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise ValueError(
            f"expected the packages {', '.join(packages)}, but {', '.join(missing)} is missing; "
            f"run pip install {' '.join(missing)}"
        )


class _FixedAveragePool(nn.Module):
    """Adaptive average pooling for one input size, as two matrix products.

    ONNX has no pooling into windows of different sizes, as PSPNet needs them.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, input_size: tuple[int, int], output_size: tuple[int, int]) -> None:
        super().__init__()
        row_means, column_means = (
            F.adaptive_avg_pool1d(torch.eye(before, **FLOAT)[None], after)[0]
            for before, after in zip(input_size, output_size, strict=True)
        )
        self.register_buffer("rows", row_means.T.contiguous())
        self.register_buffer("columns", column_means)

    def forward(self, x: Tensor) -> Tensor:
        return self.rows @ x @ self.columns


def fix_average_pools(network: nn.Module, image_size: tuple[int, int]) -> None:
    """Replace the adaptive pools of ``network`` that have more than one window.

    Args:
        network: Network from images, shape (N, 3, H, W), to anything; is changed.
        image_size: Height and width of the images that it is exported for.
    """
    sizes: dict[str, tuple[int, int]] = {}

    def remember(name: str) -> Any:
        def hook(pool: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            sizes[name] = (inputs[0].shape[2], inputs[0].shape[3])

        return hook

    pools = {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size not in (1, (1, 1))
    }
    if not pools:
        return
    handles = [pool.register_forward_pre_hook(remember(name)) for name, pool in pools.items()]
    with torch.no_grad():
        network.eval()(torch.zeros(1, 3, *image_size, **FLOAT))
    for handle in handles:
        handle.remove()
    for name, size in sizes.items():
        after: Any = pools[name].output_size
        output_size = (after, after) if isinstance(after, int) else tuple(after)
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, _FixedAveragePool(size, output_size))
