"""The compiled kernels as Python sees them: mirrors plan.h."""

from __future__ import annotations

import ctypes
import threading
from ctypes import POINTER, Structure, c_char_p, c_int, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

from mmbas.sliced.native.build import BuildError, load_library
from mmbas.sliced.native.instruction_sets import InstructionSet

LOOK_AHEAD = 8  # kLookAhead of team.h
MAX_LANES = 16


class Kind(IntEnum):
    """Kind of an operation; see plan.h."""

    SPLIT = 0
    CONV = 1
    MAX_POOL = 2
    AVG_POOL = 3
    SUBSAMPLE = 4
    GATE = 5
    OUTPUT = 6
    CLEAR = 7


class GridStruct(Structure):
    """``Grid`` of plan.h."""

    _fields_ = (
        ("height", c_int32),
        ("width", c_int32),
        ("pitch", c_int32),
        ("channel_stride", c_int32),
    )


class OpStruct(Structure):
    """``Op`` of plan.h."""

    _fields_ = (
        ("kind", c_int32),
        ("in_channels", c_int32),
        ("out_channels", c_int32),
        ("in_list", c_int32),
        ("out_list", c_int32),
        ("relu", c_int32),
        ("accumulate", c_int32),
        ("pool", c_int32),
        ("stride", c_int32),
        ("taps", c_int32),
        ("packed", c_int32),
        ("hidden", c_int32),
        ("tensor", c_int32),
        ("num_lists", c_int32),
        ("list_starts", c_int32 * 2),
        ("list_ends", c_int32 * 2),
        ("in_grid", GridStruct),
        ("out_grid", GridStruct),
        ("in_offset", c_int64),
        ("out_offset", c_int64),
        ("scratch", c_int64),
        ("all", c_void_p),
        ("tap_offsets", c_void_p),
        ("mask", c_void_p),
        ("weights", c_void_p),
        ("bias", c_void_p),
        ("weights2", c_void_p),
        ("bias2", c_void_p),
    )


class CallStruct(Structure):
    """``Call`` of plan.h."""

    _fields_ = (
        ("images", c_void_p),
        ("image_stride", c_int64),
        ("outputs", POINTER(c_void_p)),
        ("output_strides", POINTER(c_int64)),
        ("logits", POINTER(c_void_p)),
        ("forced", POINTER(c_void_p)),
        ("workspaces", POINTER(c_void_p)),
        ("lists_offset", c_int64),
        ("list_stride", c_int64),
        ("pools_offset", c_int64),
        ("pool_stride", c_int64),
        ("workspace_floats", c_int64),
        ("num_images", c_int32),
        ("num_threads", c_int32),
        ("num_workspaces", c_int32),
    )


STRUCTURES = (GridStruct, OpStruct, CallStruct)


def address(tensor: Tensor, dtype: torch.dtype) -> int:
    """Where the values of a tensor begin in memory: the kernels believe what they are told.

    Args:
        tensor: Dense, on the CPU, at least as long as it is used.
        dtype: Type as which the kernels read the values.

    Raises:
        RuntimeError: If the tensor is not as described.
    """
    if tensor.dtype != dtype or tensor.device.type != "cpu" or not tensor.is_contiguous():
        raise RuntimeError(
            f"expected a contiguous tensor of {dtype} on the CPU for the native kernels, but got "
            f"{tensor.dtype} on {tensor.device} with strides {tensor.stride()}; please report it"
        )
    return tensor.data_ptr()


@dataclass(frozen=True)
class Library:
    """The kernels for one instruction set.

    Attributes:
        handle: The loaded library; calls of it let other Python threads run.
        rows: Output channels per block of packed weights.
    """

    handle: ctypes.CDLL
    rows: int


class _FieldStruct(Structure):
    """``Field`` of fields.h."""

    _fields_ = (("name", c_char_p), ("offset", c_int32), ("size", c_int32))


def fields_in_c(handle: ctypes.CDLL, which: int) -> list[tuple[str, int, int]]:
    """Name, offset and size of each field of a structure, as the library was compiled.

    Args:
        handle: The library.
        which: Place of the structure in ``STRUCTURES``.
    """
    fields = POINTER(_FieldStruct)()
    count = handle.mmbas_fields(which, ctypes.byref(fields))
    return [(fields[i].name.decode(), fields[i].offset, fields[i].size) for i in range(count)]


def fields_in_python(structure: type[Structure]) -> list[tuple[str, int, int]]:
    """Name, offset and size of each field of a structure."""
    names = [field[0] for field in structure._fields_]
    return [
        (name, getattr(structure, name).offset, getattr(structure, name).size) for name in names
    ]


_lock = threading.Lock()
_libraries: dict[str, Library] = {}


def get_library(isa: InstructionSet) -> Library:
    """The kernels for ``isa``; compiled or read from the cache by the first call.

    Raises:
        BuildError: See :func:`load_library`.
    """
    with _lock:
        if isa.name not in _libraries:
            _libraries[isa.name] = _load(isa)
        return _libraries[isa.name]


def _load(isa: InstructionSet) -> Library:
    handle = load_library(isa)
    handle.mmbas_run.argtypes = [POINTER(OpStruct), c_int, POINTER(CallStruct)]
    handle.mmbas_run.restype = None
    for which, structure in enumerate(STRUCTURES):
        if fields_in_c(handle, which) != fields_in_python(structure):
            raise BuildError(f"{structure.__name__} does not mirror plan.h")
    return Library(handle, handle.mmbas_rows())
