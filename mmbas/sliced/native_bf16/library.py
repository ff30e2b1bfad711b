"""The compiled kernels, and which of them this machine runs."""

from __future__ import annotations

import ctypes
import os
import platform
import threading
from ctypes import POINTER, c_char_p, c_int, c_int32, c_int64, c_void_p
from pathlib import Path

from mmbas.backbones.description import UnsupportedError
from mmbas.sliced.native.build import Unit, build_library
from mmbas.sliced.native.instruction_sets import cpu_description
from mmbas.sliced.native_bf16.structures import INTERFACE, CallStruct, Kernels, NetworkStruct

ENVIRONMENT_VARIABLE = "MMBAS_NATIVE_BF16_KERNELS"
FOLDER = Path(__file__).parent / "kernels"
AVX512_BF16 = (
    *("-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", "-mavx512bf16"),
    *("-mfma", "-mbmi", "-mbmi2"),
)
# Each instruction set is compiled by itself and chosen when the library runs.
FLAGS = {
    "run_avx512_bf16.cpp": AVX512_BF16,
    "run_amx.cpp": (*AVX512_BF16, "-mamx-tile", "-mamx-bf16"),
}

_lock = threading.Lock()
_libraries: list[ctypes.CDLL] = []


def get_library() -> ctypes.CDLL:
    """The kernels; compiled or read from the cache by the first call.

    Raises:
        BuildError: See :func:`mmbas.sliced.native.build.build_library`.
    """
    with _lock:
        if not _libraries:
            _libraries.append(_load())
        return _libraries[0]


def units() -> tuple[Unit, ...]:
    """The source files for this machine with the flags that each takes."""
    x86 = platform.machine() in ("x86_64", "AMD64")
    names = sorted(path.name for path in FOLDER.glob("*.cpp"))
    return tuple(
        Unit(FOLDER / name, FLAGS.get(name, ())) for name in names if x86 or name not in FLAGS
    )


def _load() -> ctypes.CDLL:
    library = build_library("native-bf16", units())
    backbone = c_void_p
    size = (c_int32, c_int32)
    library.mmbas_bf16_create.argtypes = [POINTER(NetworkStruct), c_int32]
    library.mmbas_bf16_create.restype = backbone
    library.mmbas_bf16_destroy.argtypes = [backbone]
    library.mmbas_bf16_destroy.restype = None
    library.mmbas_bf16_weight_bytes.argtypes = [backbone]
    library.mmbas_bf16_weight_bytes.restype = c_int64
    library.mmbas_bf16_output_shape.argtypes = [backbone, c_int32, *size, POINTER(c_int32 * 3)]
    library.mmbas_bf16_describe_step.argtypes = [backbone, *size, c_int32, c_int32, c_char_p, c_int]
    library.mmbas_bf16_run.argtypes = [backbone, POINTER(CallStruct)]
    library.mmbas_bf16_last_error.restype = c_char_p
    if library.mmbas_bf16_interface() != INTERFACE:
        raise RuntimeError("expected structures.py to mirror backbone.h, but its number differs")
    return library


def available() -> list[Kernels]:
    """The kernels that run on this machine, fastest first."""
    library = get_library()
    return [each for each in sorted(Kernels, reverse=True) if library.mmbas_bf16_can_run(each)]


def chosen() -> Kernels:
    """The kernels to use: those of the environment variable, else the fastest that pay.

    The portable ones are far slower than float32, and so are those for AVX512_BF16 on Intel's CPUs,
    which run its instruction at less than half the rate of float32: they are used by name only.

    Raises:
        UnsupportedError: If there are none.
        BuildError: If they cannot be compiled.
    """
    names = {each.name.lower(): each for each in available()}
    wanted = os.environ.get(ENVIRONMENT_VARIABLE)
    if wanted:
        if wanted not in names:
            raise UnsupportedError(
                f"{ENVIRONMENT_VARIABLE}={wanted} is not one of {', '.join(names)}"
            )
        return names[wanted]
    if "amx" in names:
        return Kernels.AMX
    if "avx512_bf16" in names and "Intel" not in cpu_description():
        return Kernels.AVX512_BF16
    raise UnsupportedError("the CPU has no bfloat16 that is faster than its float32")
