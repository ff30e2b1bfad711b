"""Turns a trained gated model into one that does not compute closed channels."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmbas.backbones.description import BACKBONES, Backbone, UnsupportedError, describe
from mmbas.gates import named_gates
from mmbas.sliced.folding import fold_norms
from mmbas.sliced.layer_hooks import take_off_hooks
from mmbas.sliced.parity import why_not_equal
from mmbas.sliced.sliced_backbone import SlicedBackbone

Model = TypeVar("Model", bound=nn.Module)


def accelerate(
    model: Model, *, path: str = "auto", dtype: torch.dtype | str | None = None
) -> Model | SlicedBackbone:
    """Copy of a gated model that computes open channels only; the model is left as it is.

    Each block decides its gates first and then computes, image by image, the channels that are
    open: equal to the masked model up to rounding, for any gates and any batch size. The backbone's
    batch normalisation is folded into its convolutions; heads and necks stay as they are. The
    result is compared with the model on small random images before it is handed over. Everything
    else works as before: ``predict`` with its MACs per image, ``record_gate_outputs``,
    ``force_gate_logits``, ``count_macs``.

    Args:
        model: A model with a gated backbone, such as ``GatedImageClassifier`` or
            ``GatedEncoderDecoder``, or the backbone itself; in evaluation mode.
        path: ``'auto'`` takes the native kernel where it can run and torch's own operators
            elsewhere, and logs which and why; ``'native'``, ``'torch'``; ``'triton'`` for GPUs.
        dtype: ``'bfloat16'`` lets the native kernels compute the backbone in bfloat16, gates in
            float32; images and feature maps keep the dtype of the weights. ``'auto'`` computes in
            float32 where the CPU has no fast bfloat16. None computes in the dtype of the weights.

    Returns:
        A model of the same class in evaluation mode, whose backbone is a
        :class:`SlicedBackbone`; for a backbone the ``SlicedBackbone`` itself.

    Raises:
        RuntimeError: If the model is in training mode.
        ValueError: If it has no gated backbone, if the backbone has parts that sliced execution
            does not know, if ``path`` cannot run it, or if the result is not that of the model.

    Example:
        >>> import torch
        >>> from mmbas.backbones import GatedResNetCifar
        >>> from mmbas.sliced import accelerate
        >>> backbone = GatedResNetCifar(20).eval()
        >>> fast = accelerate(backbone, path="torch")
        >>> images = torch.randn(2, 3, 32, 32)
        >>> torch.allclose(fast(images)[0], backbone(images)[0], atol=1e-4)
        True
    """
    own_dtype = _as_dtype(dtype)
    backbones = _gated_backbones(model)
    _check_weights(model)
    copied: Any = copy.deepcopy(model).requires_grad_(False)
    _take_off_compilation(copied)
    made: dict[nn.Module, SlicedBackbone] = {}
    for name, backbone in backbones.items():
        if backbone not in made:
            made[backbone] = _sliced(backbone, copied.get_submodule(name), path, own_dtype)
        place = f".{name}".removesuffix("._orig_mod").removeprefix(".")  # torch.compile's wrapper
        if not place:
            return made[backbone]
        parent, _, attribute = place.rpartition(".")
        setattr(copied.get_submodule(parent), attribute, made[backbone])
    return copied


def _gated_backbones(model: nn.Module) -> dict[str, Backbone]:
    """The backbones with gates by name, under each of the names that they have."""
    if model.training:
        raise RuntimeError(
            "expected a model in evaluation mode, but got one in training mode; "
            "call model.eval() first"
        )
    backbones = {
        name: module
        for name, module in model.named_modules(remove_duplicate=False)
        if isinstance(module, BACKBONES) and named_gates(module)
    }
    if not backbones:
        names = [backbone.__name__ for backbone in BACKBONES]
        raise ValueError(
            f"expected a model with gates in a backbone of {names}, but {type(model).__name__} has "
            "none; an accelerated model is accelerated already"
        )
    for backbone in backbones.values():
        try:
            describe(backbone)
        except UnsupportedError as error:
            raise _refusal(error) from error
    return backbones


def _take_off_compilation(copied: nn.Module) -> None:
    """Give a copy its class's methods back: compiled ones still run the original."""
    for module in copied.modules():
        if hasattr(module, "_orig_mod"):  # torch.compile's own module, which is copied well
            continue
        for name, value in list(vars(module).items()):
            if hasattr(value, "_torchdynamo_orig_callable") and hasattr(type(module), name):
                delattr(module, name)


def _check_weights(model: nn.Module) -> None:
    """Refuse weights that are the result of a computation: they cannot be copied."""
    for name, module in model.named_modules():
        for attribute, value in vars(module).items():
            if isinstance(value, Tensor) and not value.is_leaf:
                raise ValueError(
                    f"expected weights that are parameters, but got {name}.{attribute}, which is "
                    "computed from others (pruning, weight or spectral normalisation); make it "
                    "permanent with the remove function of torch.nn.utils"
                )


def _as_dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    if dtype not in (None, "bfloat16", torch.bfloat16):
        raise ValueError(f"expected dtype None or 'bfloat16', but got {dtype!r}")
    return None if dtype is None else torch.bfloat16


def _sliced(
    original: Backbone, copied: nn.Module, path: str, dtype: torch.dtype | None
) -> SlicedBackbone:
    """Fold the copy and slice it; ``'auto'`` tries torch's operators if the kernel is wrong."""
    assert isinstance(copied, BACKBONES)
    take_off_hooks(copied)
    try:
        fold_norms(copied)
    except UnsupportedError as error:
        raise _refusal(error) from error
    num_params = original.num_params  # folding takes those of the norm layers
    sliced = SlicedBackbone(copied, path=path, dtype=dtype, num_params=num_params)
    reason = why_not_equal(original, sliced, rounded=sliced.path == "native_bf16")
    if reason is not None and path == "auto" and sliced.path != "torch":
        print_log(f"not the path {sliced.path!r}, since {reason}", logger="current")
        sliced = SlicedBackbone(copied, path="torch", num_params=num_params)
        reason = why_not_equal(original, sliced)
    if reason is not None:
        raise ValueError(
            f"expected sliced execution to give what the model gives, but {reason}; run the masked "
            "model instead"
        )
    return sliced


def _refusal(error: UnsupportedError) -> ValueError:
    return ValueError(
        f"expected a gated backbone that sliced execution knows, but {error}; run the masked model "
        "instead"
    )
