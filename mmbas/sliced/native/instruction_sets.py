"""Instruction sets that the native kernels can be compiled for, and those of this CPU."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ENVIRONMENT_VARIABLE = "MMBAS_NATIVE_ISA"


@dataclass(frozen=True)
class InstructionSet:
    """An instruction set.

    Attributes:
        name: Name in ``MMBAS_NATIVE_ISA``.
        cpu_flags: Flags of /proc/cpuinfo that it takes.
        compiler_flags: Flags that make g++ use it.
    """

    name: str
    cpu_flags: frozenset[str]
    compiler_flags: tuple[str, ...]


def _x86(name: str, cpu_flags: str) -> InstructionSet:
    flags = cpu_flags.split()
    return InstructionSet(name, frozenset(flags), tuple(f"-m{flag}" for flag in flags))


INSTRUCTION_SETS = (
    _x86("avx512", "avx512f avx512vl avx512bw avx512dq avx2 fma"),
    _x86("avx2", "avx2 fma"),
    InstructionSet("generic", frozenset(), ()),
)


@cache
def cpu_description() -> str:
    """Model and flags of the CPU, as text."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    first = {line.partition(":")[0].strip(): line for line in reversed(lines)}
    fields = ("model name", "flags", "CPU part", "Features")
    return "\n".join([platform.machine(), *(first[name] for name in fields if name in first)])


def available() -> list[InstructionSet]:
    """Instruction sets that this CPU has, fastest first."""
    flags = set(cpu_description().split())
    return [isa for isa in INSTRUCTION_SETS if isa.cpu_flags <= flags]


def chosen() -> InstructionSet | str:
    """The one to use, or one clause saying why none is.

    Fastest first, unless the environment variable ``MMBAS_NATIVE_ISA`` names one. On x86 the
    generic one is used only by name: without AVX2 PyTorch is faster.
    """
    wanted = os.environ.get(ENVIRONMENT_VARIABLE)
    found = available()
    if wanted:
        names = [isa.name for isa in found]
        if wanted not in names:
            return f"{ENVIRONMENT_VARIABLE}={wanted} is not one of {', '.join(names)}"
        return found[names.index(wanted)]
    if platform.machine() in ("x86_64", "AMD64") and found[0].name == "generic":
        return "the CPU has neither AVX-512 nor AVX2 with FMA"
    return found[0]
