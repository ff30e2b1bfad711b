"""Structures of the C interface: mirrors interface/backbone.h."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import POINTER, Structure, c_int32, c_int64, c_void_p, cast
from enum import IntEnum
from typing import Any

import torch
from torch import Tensor

INTERFACE = 4  # MMBAS_INTERFACE
NONE = -1  # no gates, no output


class Type(IntEnum):
    """``MmbasTensors``."""

    FLOAT32 = 0
    BFLOAT16 = 1

    @property
    def dtype(self) -> torch.dtype:
        """The same in torch."""
        return torch.bfloat16 if self else torch.float32


class Kernels(IntEnum):
    """``MmbasKernels``, in each precision slowest first."""

    GENERIC = 0
    AVX2 = 1
    AVX512 = 2
    PORTABLE = 3
    AVX512_BF16 = 4
    AMX = 5

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights and feature maps."""
        return torch.float32 if self < Kernels.PORTABLE else torch.bfloat16


class ShortcutKind(IntEnum):
    """``MmbasShortcut``."""

    IDENTITY = 0
    CONV = 1
    SUBSAMPLE = 2


class Skip(IntEnum):
    """``MmbasSkip``."""

    NEVER = 0
    BRANCH = 1
    BLOCK = 2


class ConvStruct(Structure):
    """``MmbasConv``."""

    _fields_ = (
        ("in_channels", c_int32),
        ("out_channels", c_int32),
        ("kernel", c_int32),
        ("stride", c_int32),
        ("dilation", c_int32),
        ("weights", c_void_p),
        ("bias", c_void_p),
    )


class GateStruct(Structure):
    """``MmbasGate``."""

    _fields_ = (
        ("in_channels", c_int32),
        ("hidden", c_int32),
        ("num_gates", c_int32),
        ("weights", c_void_p),
        ("bias", c_void_p),
        ("weights2", c_void_p),
        ("bias2", c_void_p),
    )


class BlockStruct(Structure):
    """``MmbasBlock``."""

    _fields_ = (
        ("num_convs", c_int32),
        ("first_gates", c_int32 * 2),
        ("has_gate", c_int32),
        ("shortcut", c_int32),
        ("pooling", c_int32),
        ("output", c_int32),
        ("skip", c_int32),
        ("convs", ConvStruct * 3),
        ("shortcut_conv", ConvStruct),
        ("gate", GateStruct),
    )


class NetworkStruct(Structure):
    """``MmbasNetwork``."""

    _fields_ = (
        ("num_stem", c_int32),
        ("max_pool", c_int32),
        ("num_blocks", c_int32),
        ("num_outputs", c_int32),
        ("stem", POINTER(ConvStruct)),
        ("blocks", POINTER(BlockStruct)),
    )


class OptionsStruct(Structure):
    """``MmbasOptions``."""

    _fields_ = (
        ("kernels", c_int32),
        ("unshared_bytes", c_int64),
        ("copied", c_void_p),
        ("context", c_void_p),
    )


class CallStruct(Structure):
    """``MmbasCall``."""

    _fields_ = (
        ("images", c_void_p),
        ("num_images", c_int32),
        ("height", c_int32),
        ("width", c_int32),
        ("num_threads", c_int32),
        ("outputs", POINTER(c_void_p)),
        ("logits", POINTER(c_void_p)),
        ("forced", POINTER(c_void_p)),
        ("step_seconds", c_void_p),
        ("type", c_int32),
    )


def pointers(tensors: Sequence[Tensor | None], kind: Type = Type.FLOAT32) -> Any:
    """C array of the addresses of contiguous tensors, see :func:`address`; null for None."""
    addresses = [None if tensor is None else address(tensor, kind) for tensor in tensors]
    return cast((c_void_p * len(tensors))(*addresses), POINTER(c_void_p))


def address(tensor: Tensor, kind: Type = Type.FLOAT32) -> int:
    """Where the values of a tensor begin in memory: the kernels believe what they are told.

    Args:
        tensor: Dense, on the CPU; must live as long as it is used.
        kind: Type of its values.

    Raises:
        RuntimeError: If the tensor is not as described.
    """
    if tensor.dtype != kind.dtype or tensor.device.type != "cpu" or not tensor.is_contiguous():
        raise RuntimeError(
            f"expected a contiguous {kind.dtype} tensor on the CPU for the native kernels, but "
            f"got {tensor.dtype} on {tensor.device} of strides {tensor.stride()}; please report it"
        )
    return tensor.data_ptr()
