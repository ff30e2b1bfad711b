"""Instruction sets that the native kernels are compiled for, and those of this CPU."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

AVX2 = ("-mavx2", "-mfma")
AVX512 = ("-mavx512f", "-mavx512vl", "-mavx512bw", "-mavx512dq", *AVX2)
AVX512_BF16 = (*AVX512[:4], "-mavx512bf16", "-mfma", "-mbmi", "-mbmi2")

# Each instruction set is compiled by itself and chosen when the library runs. All other files are
# compiled for the machine's baseline.
FLAGS = {
    "run_avx2.cpp": AVX2,
    "run_avx512.cpp": AVX512,
    "run_avx512_bf16.cpp": AVX512_BF16,
    "run_amx.cpp": (*AVX512_BF16, "-mamx-tile", "-mamx-bf16"),
}


def is_x86() -> bool:
    """Tell whether ``FLAGS`` mean anything to this machine's compiler."""
    return platform.machine() in ("x86_64", "AMD64")


@cache
def cpu_description() -> str:
    """Model and flags of the CPU, as text."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    first = {line.partition(":")[0].strip(): line for line in reversed(lines)}
    fields = ("model name", "flags", "CPU part", "Features")
    return "\n".join([platform.machine(), *(first[name] for name in fields if name in first)])
