"""Compiles the kernels at first use and keeps the library for the next process."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mmbas.sliced.native.instruction_sets import cpu_description

# No -ffast-math: at link time it switches the whole process to flushing denormals to zero.
FLAGS = ("-std=c++17", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast")
RELEASE_FLAGS = ("-O3", "-DNDEBUG")
DEBUG_FLAGS = ("-O1", "-g")  # with assertions of what each kernel takes for granted
DEBUG_VARIABLE = "MMBAS_NATIVE_DEBUG"
COMPILE_FLAGS = (
    *("-fPIC", "-fopenmp", "-Wno-psabi", "-Wno-unknown-pragmas"),
    "-DMMBAS_FOR_PYTORCH",  # whose OpenMP it will share
)
COMPILE_SECONDS = 600
DIGEST_BYTES = 32
OPENMP_OF_COMPILER = "-fopenmp"
# Beside the package where it is developed, and in it where it is installed.
_PACKAGE = Path(__file__).parents[2]
PREBUILT = _PACKAGE / "lib"  # in a wheel of `make wheel`
INCLUDE = next(
    (f for f in (_PACKAGE / "include", _PACKAGE.parent / "include") if (f / "mmbas.h").exists()),
    _PACKAGE / "include",
)


class BuildError(RuntimeError):
    """The library cannot be compiled or loaded; the message is one clause."""


@dataclass(frozen=True)
class Unit:
    """A source file of a library.

    Attributes:
        source: The file; headers stand beside it.
        flags: Compiler flags for it alone.
    """

    source: Path
    flags: tuple[str, ...] = ()


def build_library(name: str, units: Sequence[Unit]) -> ctypes.CDLL:
    """A library, from the cache or compiled now (seconds).

    Headers are found beside the sources and in ``INCLUDE``.

    Args:
        name: Start of its file's name.
        units: Its source files; a change of any file beside them compiles it anew.

    Raises:
        BuildError: If there is no g++, or it fails.
    """
    path = library_file(name, units)
    if path.parent == PREBUILT:
        # It was linked without OpenMP, so that it takes PyTorch's, whatever that is called.
        ctypes.CDLL(_loaded_openmp(), mode=ctypes.RTLD_GLOBAL)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(f"the compiled kernels do not load ({error})") from error


def library_file(name: str, units: Sequence[Unit]) -> Path:
    """File of a library, that of the wheel if there is one; see :func:`build_library`."""
    prebuilt = PREBUILT / f"{name}.so"
    if _is_intact(prebuilt) and _loaded_openmp() and not _is_debugging():
        return prebuilt
    compiler = find_compiler()
    path = cache_folder() / f"{name}-{_key(compiler, units)}.so"
    if not _is_intact(path):
        _compile(compiler, units, path)
    return path


def compile_for_wheel(name: str, units: Sequence[Unit], folder: Path) -> None:
    """Compile a library that runs on every CPU of this kind into a folder.

    Raises:
        BuildError: If there is no g++, or it fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _compile(find_compiler(), units, folder / f"{name}.so", openmp=())


def find_compiler() -> tuple[str, ...]:
    """Command of the C++ compiler: the environment variable ``CXX``, else g++.

    Raises:
        BuildError: If there is none, or ``CXX`` is no command.
    """
    try:
        command = shlex.split(os.environ.get("CXX", "")) or ["g++"]
    except ValueError as error:
        raise BuildError(f"CXX is not a command ({error})") from error
    if shutil.which(command[0]) is None:
        raise BuildError(f"no C++ compiler was found ({command[0]})")
    return tuple(command)


def cache_folder() -> Path:
    """Folder that only this user can write: in ``XDG_CACHE_HOME`` or ``~/.cache``.

    A library is code that the process will run, so a folder that somebody else owns or can write
    is not used; a private temporary one then serves this process.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    try:
        # The specification has relative paths ignored.
        root = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
        folder = root / "mmbas"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_private(folder) and os.access(folder, os.W_OK):
            return folder
    except (OSError, RuntimeError):  # no home, or it cannot be written
        pass
    return _temporary_folder()


def _is_private(folder: Path) -> bool:
    status = folder.lstat()
    return (
        stat.S_ISDIR(status.st_mode)
        and status.st_uid == os.geteuid()
        and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    )


_temporary: tempfile.TemporaryDirectory[str] | None = None


def _temporary_folder() -> Path:
    global _temporary  # removed when the process ends
    if _temporary is None:
        _temporary = tempfile.TemporaryDirectory(prefix="mmbas-native-")
    return Path(_temporary.name)


def _key(compiler: tuple[str, ...], units: Sequence[Unit]) -> str:
    digest = hashlib.sha256()
    for folder in sorted({INCLUDE, *(unit.source.parent for unit in units)}):
        for source in sorted([*folder.glob("*.h"), *folder.glob("*.cpp")]):
            digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    parts = (
        _version(compiler),
        cpu_description(),
        *_commands(compiler, units, Path("library"), _own_openmp()),
    )
    digest.update(repr(parts).encode())
    return digest.hexdigest()[:32]


@cache
def _version(compiler: tuple[str, ...]) -> str:
    return _run([*compiler, "--version"])


def _commands(
    compiler: tuple[str, ...], units: Sequence[Unit], library: Path, openmp: Sequence[str]
) -> list[list[str]]:
    """Compile, then link."""
    flags = [*FLAGS, *(DEBUG_FLAGS if _is_debugging() else RELEASE_FLAGS)]
    # Files of two folders may have one name.
    objects = [str(library.with_name(f"{i}-{unit.source.stem}.o")) for i, unit in enumerate(units)]
    compile_units = [
        [
            *compiler,
            *flags,
            *unit.flags,
            *COMPILE_FLAGS,
            f"-I{INCLUDE}",
            "-c",
            str(unit.source),
            "-o",
            target,
        ]
        for unit, target in zip(units, objects, strict=True)
    ]
    return [*compile_units, [*compiler, "-shared", *objects, *openmp, "-o", str(library)]]


def _is_debugging() -> bool:
    return os.environ.get(DEBUG_VARIABLE) == "1"


def _own_openmp() -> tuple[str, ...]:
    """Flags that link PyTorch's own OpenMP, for two of them would spin side by side."""
    runtime = _loaded_openmp()
    if runtime is None:
        return (OPENMP_OF_COMPILER,)
    return (runtime, f"-Wl,-rpath,{Path(runtime).parent}")


def _loaded_openmp() -> str | None:
    """Path of the OpenMP runtime that PyTorch has brought into this process."""
    maps = Path("/proc/self/maps")
    text = maps.read_text(encoding="utf-8") if maps.exists() else ""
    paths = re.findall(r"(/\S*/lib(?:gomp|iomp5|omp)\b[^/\s]*\.so\S*)$", text, flags=re.MULTILINE)
    # Other packages may have brought their own.
    return min(paths, key=lambda path: "torch" not in path, default=None)


def _compile(
    compiler: tuple[str, ...],
    units: Sequence[Unit],
    path: Path,
    *,
    openmp: Sequence[str] | None = None,
) -> None:
    """Write the library to ``path`` at one stroke, its digest behind it (ELF does not mind)."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="build-") as folder:
        library = Path(folder) / "library.so"
        linked = _own_openmp() if openmp is None else openmp
        *compile_units, link = _commands(compiler, units, library, linked)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(_run, compile_units))
        _run(link)
        code = library.read_bytes()
        library.write_bytes(code + hashlib.sha256(code).digest())
        library.replace(path)


def _is_intact(path: Path) -> bool:
    try:
        content = path.read_bytes()
    except OSError:
        return False
    code, digest = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
    return hashlib.sha256(code).digest() == digest


def _run(command: list[str]) -> str:
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=COMPILE_SECONDS
        )
    except subprocess.CalledProcessError as error:
        errors = [line for line in error.stderr.splitlines() if "error:" in line]
        reason = (errors or error.stderr.splitlines() or [f"exit code {error.returncode}"])[0]
        raise BuildError(f"{command[0]} fails: {reason[:200]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{command[0]} fails: {error}") from error
    return result.stdout
