"""Export of a trained model to a runtime file, which C programs run (docs/runtime-file.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmbas.backbones.description import BACKBONES, ConvNorm, UnsupportedError, check_inner_gates
from mmbas.compress.prediction import compute_logits, is_segmentor
from mmbas.gates import named_gates, record_gate_outputs
from mmbas.sliced.folding import folded, folded_conv
from mmbas.sliced.native.coverage import covered_description
from mmbas.sliced.native.runtime_file import Head, Preparation, runtime_file
from mmbas.sliced.native.runtime_model import RuntimeModel

# Gate logits this close to 0 may change sign with the order of additions.
UNDECIDED = 1e-5


@dataclass(frozen=True)
class RuntimeExport:
    """A file and what it holds.

    Attributes:
        content: Its bytes.
        has_head: True if logits come out of it.
        why_no_head: One clause otherwise.
    """

    content: bytes
    has_head: bool
    why_no_head: str | None


def export_runtime(
    model: nn.Module, preparation: Preparation, texts: Mapping[str, str]
) -> RuntimeExport:
    """Write a classifier or segmentor of the hosts, or its backbone where the head is unknown.

    Args:
        model: Model in evaluation mode, on the CPU, in float32; is not changed.
        preparation: Steps of its data preprocessor.
        texts: Texts for the file, by key.

    Raises:
        ValueError: If the backbone is none that the native kernels run.
    """
    backbone: Any = getattr(model, "backbone", None)
    try:
        if not isinstance(backbone, BACKBONES):
            raise UnsupportedError(f"{type(backbone).__name__} is no backbone with gates")
        description = covered_description(folded(backbone))
        check_inner_gates(description)  # the file has no blocks that are skipped
    except UnsupportedError as error:
        raise ValueError(
            f"expected a backbone that the native kernels run, but {error}; export ONNX instead"
        ) from error
    head, reason = None, None
    try:
        head = _dense_head(model) if is_segmentor(model) else _classifier(model)
    except UnsupportedError as error:
        reason = str(error)
    content = runtime_file(description, head, preparation, texts)
    return RuntimeExport(content, head is not None, reason)


@torch.no_grad()
def max_relative_difference(
    model: Any, runtime: RuntimeModel, images: Tensor, inputs: Tensor
) -> tuple[float, int]:
    """Largest difference of the file's last output from torch's, over the largest value.

    Images on which a gate logit is 0 up to rounding are left out: either decision is right there.

    Args:
        model: Model that was exported.
        runtime: Its file.
        images: Shape (N, 3, H, W), 0 to 255, red first.
        inputs: The same as the network reads them.

    Returns:
        The difference, and the number of images compared.
    """
    results = runtime(images)
    actual = results.features[-1] if results.logits is None else results.logits
    with record_gate_outputs(model) as records:
        if results.logits is None:
            expected = model.backbone(inputs)[-1]
        elif is_segmentor(model):
            expected = model.decode_head(model.backbone(inputs))
        else:
            expected = compute_logits(model, inputs)
    decided = torch.ones(len(images), dtype=torch.bool, device="cpu")
    for outputs in records.values():
        for output in outputs:
            decided &= output.logits.abs().min(dim=1).values > UNDECIDED
    if not decided.any():
        return 0.0, 0
    gates = torch.cat([records[name][0].gates for name in named_gates(model)], dim=1) > 0
    if not torch.equal(results.gates[decided], gates[decided]):
        return float("inf"), int(decided.sum())
    difference = (actual - expected)[decided].abs().max()
    return float(difference / expected.abs().max()), int(decided.sum())


def _classifier(model: Any) -> Head:
    neck, head = getattr(model, "neck", None), getattr(model, "head", None)
    if type(neck).__name__ != "GlobalAveragePooling" or type(head).__name__ != "LinearClsHead":
        raise UnsupportedError(
            f"the head is not global average pooling and a linear layer, but {type(neck).__name__} "
            f"and {type(head).__name__}"
        )
    linear: nn.Linear = head.fc  # type: ignore[union-attr]
    conv = nn.Conv2d(linear.in_features, linear.out_features, 1, device="meta")
    conv.weight = nn.Parameter(linear.weight.detach()[:, :, None, None])
    conv.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach())
    return Head([conv], average=True)


def _dense_head(model: Any) -> Head:
    """PSPHead, or FCNHead without a second path around its convolutions."""
    head: Any = model.decode_head
    name = type(head).__name__
    if getattr(model, "neck", None) is not None or head.input_transform is not None:
        raise UnsupportedError("the head reads more than one feature map")
    outputs = model.backbone.out_indices
    if head.in_index not in (-1, len(outputs) - 1):
        raise UnsupportedError("the head does not read the last feature map")
    if name == "PSPHead":
        pools = [(_pool_size(module[0]), _folded_module(module[1])) for module in head.psp_modules]
        convs = [_folded_module(head.bottleneck), head.conv_seg]
        return Head(convs, pools=pools, align_corners=head.align_corners)
    if name == "FCNHead" and not head.concat_input:
        modules = [] if type(head.convs) is nn.Identity else list(head.convs)
        return Head([*map(_folded_module, modules), head.conv_seg])
    raise UnsupportedError(f"the head {name} is not covered")


def _pool_size(pool: Any) -> int:
    size = pool.output_size
    if type(pool) is not nn.AdaptiveAvgPool2d or not isinstance(size, int):
        raise UnsupportedError(f"the pooling {pool} is not covered")
    return size


def _folded_module(module: nn.Module) -> nn.Conv2d:
    """The convolution of mmcv's ConvModule, its normalisation folded in; ReLU follows it."""
    conv, *others = [child for child in module.children() if type(child) is not nn.Dropout2d]
    norms = [child for child in others if isinstance(child, _BatchNorm)]
    relus = [child for child in others if type(child) is nn.ReLU]
    if (
        type(conv) is not nn.Conv2d
        or len(norms) > 1
        or len(relus) != 1
        or len(norms) + len(relus) != len(others)
        or conv.groups != 1
        or conv.padding != (conv.dilation[0] * (conv.kernel_size[0] // 2),) * 2
    ):
        raise UnsupportedError(f"a layer of the head is not covered: {module}")
    return folded_conv(ConvNorm(conv, norms[0] if norms else nn.Identity(), "a layer", "a norm"))
