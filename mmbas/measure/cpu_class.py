"""Class of the CPU of a measurement: the widest unit that convolutions can use."""

from __future__ import annotations

import os

from mmbas.sliced.native.instruction_sets import cpu_description

# Flags of /proc/cpuinfo, the strongest first.
CLASSES = {
    "amx_bf16": {"amx_tile", "amx_bf16"},
    "avx512_bf16": {"avx512f", "avx512vl", "avx512_bf16"},
    "avx512": {"avx512f", "avx512vl", "avx512bw", "avx512dq"},
    "avx2": {"avx2", "fma"},
    "neon_bf16": {"asimd", "bf16"},
    "neon": {"asimd"},
}
WITH_BFLOAT16 = ("amx_bf16", "avx512_bf16", "neon_bf16")

# Environment variables by which a CPU is made to look like a weaker one.
LIMITS = ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "MMBAS_NATIVE_ISA")


def cpu_class(flags: set[str] | None = None) -> str:
    """Class of this CPU, or of one with the given flags.

    Args:
        flags: Flags as /proc/cpuinfo lists them; default: this CPU's.

    Returns:
        A key of ``CLASSES``, or ``'generic'``.

    Example:
        >>> cpu_class({"avx2", "fma", "sse2"})
        'avx2'
    """
    flags = set(cpu_description().split()) if flags is None else flags
    return next((name for name, needed in CLASSES.items() if needed <= flags), "generic")


def has_bfloat16() -> bool:
    """Tell whether this CPU multiplies bfloat16 numbers by itself."""
    return cpu_class() in WITH_BFLOAT16


def limits() -> dict[str, str]:
    """Environment variables that are set and keep libraries from units that this CPU has."""
    return {name: os.environ[name] for name in LIMITS if name in os.environ}
