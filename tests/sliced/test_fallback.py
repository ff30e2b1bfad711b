"""path='auto' runs whatever happens to the kernels, and says in one line why they do not run."""

import errno
import os
from pathlib import Path

import pytest
from sliced.small_models import assert_close, images, small_backbone

from mmbas.sliced import accelerate, sliced_backbone
from mmbas.sliced.native import build, library


@pytest.fixture
def log(monkeypatch, tmp_path):
    """The lines that are logged, with no library in memory and an empty cache."""
    lines = []
    monkeypatch.setattr(sliced_backbone, "print_log", lambda line, **_: lines.append(line))
    monkeypatch.setattr(library, "_libraries", {})
    monkeypatch.setattr(build, "_temporary", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return lines


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def read_only(*_, **__):
    raise OSError(errno.EROFS, "Read-only file system")


def over_quota(*_, **__):
    raise OSError(errno.EDQUOT, "Disk quota exceeded")


def no_program(monkeypatch, tmp_path, lines):
    compiler = tmp_path / "compiler"
    compiler.write_text(f"#!/bin/sh\n{lines}\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))


FAILURES = {
    "full disk": lambda patch, path: patch.setattr(build.tempfile, "TemporaryDirectory", no_space),
    "read-only": lambda patch, path: patch.setattr(build.tempfile, "TemporaryDirectory", read_only),
    "quota": lambda patch, path: patch.setattr(build, "_compile", over_quota),
    "unreadable sources": lambda patch, path: patch.setattr(Path, "read_bytes", read_only),
    "no geteuid": lambda patch, path: patch.delattr(os, "geteuid"),
    "compiler crashes": lambda patch, path: no_program(patch, path, "kill -SEGV $$"),
    "compiler fails": lambda patch, path: no_program(patch, path, "exit 1"),
    "compiler writes nothing": lambda patch, path: no_program(patch, path, "exit 0"),
    "compiler speaks no UTF-8": lambda patch, path: no_program(patch, path, r"printf '\377'"),
    "compiler is no program": lambda patch, path: (
        (path / "empty").touch(),
        patch.setenv("CXX", str(path / "empty")),
    ),
    "no compiler": lambda patch, path: patch.setenv("CXX", "no-such-compiler"),
    "library of something else": lambda patch, path: patch.setattr(
        library, "build_library", lambda *_: object()
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_it_falls_back_with_one_line(name, log, monkeypatch, tmp_path):
    model, x = small_backbone(), images()
    with monkeypatch.context() as patch:
        FAILURES[name](patch, tmp_path)
        fast = accelerate(model)
    if name == "no geteuid" and fast.path == "native":
        return  # a private temporary folder will do
    assert fast.path == "torch"
    (line,) = log
    assert line.startswith("sliced execution of GatedResNetCifar: torch's own operators, since ")
    assert "\n" not in line
    assert_close(fast(x), model(x))


def test_a_path_that_was_asked_for_says_why_it_fails(log, monkeypatch):
    monkeypatch.setattr(build, "_compile", over_quota)
    monkeypatch.setattr(build, "find_compiler", lambda: ("g++",))
    monkeypatch.setattr(build, "_version", lambda compiler: "1")
    with pytest.raises(ValueError, match=r"for the native path, but .*Disk quota exceeded"):
        accelerate(small_backbone(), path="native")


def test_a_cache_folder_that_is_a_file(log, monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("")
    assert build.cache_folder() != tmp_path / "cache" / "mmbas"
    assert build.cache_folder().is_dir()
