"""The compiled kernels of both precisions, and which of them this machine runs."""

from __future__ import annotations

import ctypes
import os
import threading
from ctypes import POINTER, c_char_p, c_double, c_int32, c_int64, c_void_p
from pathlib import Path

import torch

from mmbas.backbones.description import UnsupportedError
from mmbas.sliced.native import build
from mmbas.sliced.native.build import Unit, build_library, library_file
from mmbas.sliced.native.instruction_sets import FLAGS, is_x86
from mmbas.sliced.native.structures import (
    INTERFACE,
    CallStruct,
    Kernels,
    NetworkStruct,
    OptionsStruct,
)

VARIABLES = {torch.float32: "MMBAS_NATIVE_ISA", torch.bfloat16: "MMBAS_NATIVE_BF16_KERNELS"}
FOLDERS = (
    Path(__file__).parent / "interface",
    Path(__file__).parent / "runtime",
    Path(__file__).parent / "kernels",
    Path(__file__).parents[1] / "native_bf16" / "kernels",
)

NAME = "native"

_lock = threading.Lock()
_libraries: dict[str, ctypes.CDLL] = {}


def get_library() -> ctypes.CDLL:
    """The kernels; compiled or read from the cache by the first call.

    Raises:
        BuildError: See :func:`mmbas.sliced.native.build.build_library`.
    """
    with _lock:
        if "native" not in _libraries:
            _libraries["native"] = _load()
        return _libraries["native"]


def library_path() -> Path:
    """File of the kernels, which also registers the operator of ONNX Runtime.

    Raises:
        BuildError: See :func:`mmbas.sliced.native.build.build_library`.
    """
    return library_file(NAME, units())


def compile_for_wheel(folder: Path) -> None:
    """Compile the kernels into a folder of a wheel: see :func:`build.compile_for_wheel`."""
    build.compile_for_wheel(NAME, units(), folder)


def units() -> tuple[Unit, ...]:
    """The source files with the flags that each takes on this machine."""
    return tuple(
        Unit(source, FLAGS.get(source.name, ()) if is_x86() else ())
        for folder in FOLDERS
        for source in sorted(folder.glob("*.cpp"))
    )


def _load() -> ctypes.CDLL:
    library = build_library(NAME, units())
    backbone = c_void_p
    size = (c_int32, c_int32)
    library.mmbas_backbone_create.argtypes = [POINTER(NetworkStruct), POINTER(OptionsStruct)]
    library.mmbas_backbone_create.restype = backbone
    library.mmbas_backbone_destroy.argtypes = [backbone]
    library.mmbas_backbone_destroy.restype = None
    for name in ("weight_bytes", "workspace_bytes"):
        function = getattr(library, f"mmbas_backbone_{name}")
        function.argtypes, function.restype = [backbone], c_int64
    library.mmbas_backbone_output_shape.argtypes = [backbone, c_int32, *size, POINTER(c_int32 * 3)]
    library.mmbas_backbone_describe_step.argtypes = [
        *(backbone, *size, c_int32, c_int32),
        *(c_char_p, c_int32),
    ]
    library.mmbas_backbone_roofline.argtypes = [backbone, POINTER(c_double), POINTER(c_double)]
    library.mmbas_backbone_roofline.restype = None
    library.mmbas_backbone_run.argtypes = [backbone, POINTER(CallStruct)]
    library.mmbas_backbone_last_error.restype = c_char_p
    if library.mmbas_interface() != INTERFACE:
        raise RuntimeError("expected structures.py to mirror backbone.h, but its number differs")
    return library


def available(dtype: torch.dtype) -> list[Kernels]:
    """The kernels of a precision that run on this machine, fastest first."""
    library = get_library()
    return [
        each
        for each in sorted(Kernels, reverse=True)
        if each.dtype == dtype and library.mmbas_can_run(each)
    ]


def chosen(dtype: torch.dtype) -> Kernels:
    """The kernels to use: those of the precision's environment variable, else the fastest that pay.

    By name only: on x86 the generic ones, since without AVX2 PyTorch is faster, and those that
    ``is_slow`` of interface/cpu.h names.

    Raises:
        UnsupportedError: If there are none.
        BuildError: If they cannot be compiled.
    """
    names = {each.name.lower(): each for each in available(dtype)}
    wanted = os.environ.get(VARIABLES[dtype])
    if wanted:
        if wanted not in names:
            raise UnsupportedError(f"{VARIABLES[dtype]}={wanted} is not one of {', '.join(names)}")
        return names[wanted]
    fastest = get_library().mmbas_fastest_kernels(dtype == torch.bfloat16)
    if fastest < 0:
        raise UnsupportedError("the CPU has no bfloat16 that is faster than its float32")
    if fastest == Kernels.GENERIC and is_x86():
        raise UnsupportedError("the CPU has neither AVX-512 nor AVX2 with FMA")
    return Kernels(fastest)
