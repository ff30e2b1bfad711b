"""ONNX with the whole backbone as one operator, which leaves out closed channels.

The graph has one node ``mmbas::GatedBackbone`` that holds a runtime file's bytes; what stands
before and behind it is ordinary ONNX. ONNX Runtime runs the node with the library of
:func:`mmbas.sliced.native.library.library_path`.
"""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmbas.backbones.description import BACKBONES, UnsupportedError
from mmbas.compress.onnx_export import (
    FLOAT,
    OPSET,
    ExportedNetwork,
    export_module,
    require_packages,
)
from mmbas.compress.prediction import compute_logits
from mmbas.gates import named_gates
from mmbas.sliced.folding import folded
from mmbas.sliced.native.coverage import covered_description
from mmbas.sliced.native.runtime_file import Preparation, runtime_file

DOMAIN, NAME, DOMAIN_VERSION = "mmbas", "GatedBackbone", 1


def export_with_operator(
    network: ExportedNetwork, path: str | Path, *, bfloat16: bool = False
) -> None:
    """Write ``network`` with its backbone as one node.

    Args:
        network: Network to export; is not changed.
        path: File to write.
        bfloat16: Let the node compute in bfloat16.

    Raises:
        ValueError: If the backbone is none that the native kernels run, a sliding test asks for it
            several times, torch cannot export the head, or the package onnx is not installed.
    """
    require_packages("onnx")
    backbone = network.model.backbone
    if (getattr(network.model, "test_cfg", None) or {}).get("mode") == "slide":
        raise ValueError(
            "expected a segmentor that sees an image whole, but got test_cfg.mode='slide'; set "
            "model.test_cfg.mode=whole, or leave out --operator"
        )
    try:
        if not isinstance(backbone, BACKBONES):
            raise UnsupportedError(f"{type(backbone).__name__} is no backbone with gates")
        description = covered_description(folded(backbone))
    except UnsupportedError as error:
        raise ValueError(
            f"expected a backbone that the native kernels run, but {error}; leave out --operator"
        ) from error
    content = runtime_file(description, None, Preparation([0.0] * 3, [1.0] * 3), {})
    onnx: Any = importlib.import_module("onnx")
    behind = _exported_head(onnx, network)
    attributes = {"file": content, "bfloat16": int(bfloat16)}
    front = _front(onnx, network, attributes, behind)
    features = [value.name for value in behind.graph.input]
    model = onnx.compose.merge_models(front, behind, io_map=[(name, name) for name in features])
    outputs = {value.name: value for value in model.graph.output}
    del model.graph.output[:]
    model.graph.output.extend(outputs[name] for name in network.output_names)
    onnx.save(model, str(path))


class _BehindBackbone(nn.Module):
    """Logits, and labels where the prediction is no argmax, of a backbone's feature maps."""

    def __init__(self, network: ExportedNetwork) -> None:
        super().__init__()
        self.network = network
        self._images = torch.zeros(1, 3, *network.image_size, **FLOAT)

    def forward(self, *features: Tensor) -> tuple[Tensor, ...]:
        model = self.network.model
        backbone, model.backbone = model.backbone, _Given(features)
        try:
            logits = compute_logits(model, self._images)  # which reads their size alone
        finally:
            model.backbone = backbone
        labels = self.network.prediction.labels
        return (logits, labels(logits)) if labels else (logits,)


class _Given(nn.Module):
    """Stands in place of a backbone and returns feature maps that there are already."""

    def __init__(self, features: tuple[Tensor, ...]) -> None:
        super().__init__()
        self._features = features

    def forward(self, _: Tensor) -> tuple[Tensor, ...]:
        return self._features


def _exported_head(onnx: Any, network: ExportedNetwork) -> Any:
    """All that stands behind the backbone, as a model of ONNX with an input for each map."""
    with torch.no_grad():
        images = torch.rand(2, 3, *network.image_size, **FLOAT) * 255
        features = tuple(network.model.backbone(network.preprocess(images)))
    names = [f"features_{i}" for i in range(len(features))]
    outputs = [name for name in network.output_names if name != "gates"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "head.onnx"
        export_module(_BehindBackbone(network), path, features, names, outputs)
        return onnx.load(str(path))


def _front(onnx: Any, network: ExportedNetwork, attributes: dict[str, Any], behind: Any) -> Any:
    """Preprocessing and the backbone's node."""
    helper, types = onnx.helper, onnx.TensorProto
    size = ["batch", 3, *network.image_size]
    num_gates = sum(gate.num_gates for gate in named_gates(network.model).values())
    constants = [
        onnx.numpy_helper.from_array(tensor.reshape(1, 3, 1, 1).numpy(), name)
        for name, tensor in (("mean", network.mean), ("std", network.std))
    ]
    nodes, ordered = [], "images"
    if network.flip_channels:
        ordered = "ordered"
        constants.append(onnx.numpy_helper.from_array(torch.tensor([2, 1, 0]).numpy(), "order"))
        nodes.append(helper.make_node("Gather", ["images", "order"], [ordered], axis=1))
    nodes.append(helper.make_node("Sub", [ordered, "mean"], ["centered"]))
    nodes.append(helper.make_node("Div", ["centered", "std"], ["inputs"]))
    used = {value.name for value in behind.graph.input}  # an output without a name is left out
    maps = [f"features_{i}" for i in range(len(network.model.backbone.out_indices))]
    results = ["gates" if network.with_gates else "", *(n if n in used else "" for n in maps)]
    node = helper.make_node(NAME, ["inputs"], results, domain=DOMAIN)
    node.attribute.extend(helper.make_attribute(*item) for item in attributes.items())
    outputs = list(behind.graph.input)
    if network.with_gates:
        outputs.append(helper.make_tensor_value_info("gates", types.BOOL, ["batch", num_gates]))
    images = helper.make_tensor_value_info("images", types.FLOAT, size)
    graph = helper.make_graph([*nodes, node], "front", [images], outputs, constants)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=behind.ir_version)
