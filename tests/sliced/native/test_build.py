"""Where compiled kernels are kept, and what happens if they cannot be compiled."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmbas.sliced.native import build
from mmbas.sliced.native.build import (
    BuildError,
    Unit,
    build_library,
    cache_folder,
    find_compiler,
)

TRIVIAL = 'extern "C" int answer() { return 42; }'


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "_temporary", None)
    return tmp_path / "cache" / "mmbas"


@pytest.fixture
def trivial(tmp_path):
    """A library that compiles at once."""
    try:
        find_compiler()
    except BuildError as error:
        pytest.skip(str(error))
    source = tmp_path / "source" / "trivial.cpp"
    source.parent.mkdir()
    source.write_text(TRIVIAL)
    return source


def load(source):
    return build_library("trivial", (Unit(source),))


def test_the_cache_is_private_and_used_again(cache, trivial, monkeypatch):
    assert load(trivial).answer() == 42
    assert cache.stat().st_mode & 0o777 == 0o700
    (library,) = cache.iterdir()
    written = library.stat().st_mtime_ns
    load(trivial)
    assert [path.stat().st_mtime_ns for path in cache.iterdir()] == [written]


def test_a_library_of_several_units_that_take_their_own_flags(cache, trivial):
    other = trivial.with_name("other.cpp")
    other.write_text('extern "C" int flag() { return FLAG; }')
    library = build_library("two", (Unit(trivial), Unit(other, ("-DFLAG=7",))))
    assert (library.answer(), library.flag()) == (42, 7)
    assert build_library("two", (Unit(trivial), Unit(other, ("-DFLAG=8",)))).flag() == 8


def test_other_source_is_another_library(cache, trivial):
    load(trivial)
    trivial.write_text(TRIVIAL.replace("42", "43"))
    assert load(trivial).answer() == 43
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("damage", ["truncated", "changed", "empty"])
def test_a_damaged_library_is_compiled_again(cache, trivial, damage):
    cache.mkdir(parents=True, mode=0o700)
    units = (Unit(trivial),)
    library = cache / f"trivial-{build._key(find_compiler(), units)}.so"
    build._compile(find_compiler(), units, library)
    content = library.read_bytes()
    changed = content[:100] + bytes([content[100] ^ 1]) + content[101:]
    library.write_bytes({"truncated": content[:-50], "changed": changed, "empty": b""}[damage])
    assert load(trivial).answer() == 42
    assert build._is_intact(library)


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_folder_that_others_can_write_is_not_used(cache, mode):
    cache.mkdir(parents=True)
    cache.chmod(mode)
    folder = cache_folder()
    assert folder != cache
    assert folder.stat().st_mode & 0o777 == 0o700
    assert cache_folder() == folder


def test_a_folder_of_somebody_else_is_not_used(cache, monkeypatch):
    cache.mkdir(parents=True, mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: cache.stat().st_uid + 1)
    assert cache_folder() != cache


def test_a_link_is_not_followed(cache, tmp_path):
    cache.parent.mkdir()
    target = tmp_path / "elsewhere"
    target.mkdir(mode=0o700)
    cache.symlink_to(target)
    assert cache_folder() != cache


def test_a_relative_cache_is_ignored(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "mmbas"


def test_no_compiler(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BuildError, match=r"no C\+\+ compiler was found \(no-such-compiler\)"):
        load(Path("trivial.cpp"))


def test_without_compiler_the_reason_is_given(monkeypatch, tmp_path):
    lines = """
import sys
from mmbas.sliced.folding import folded
from mmbas.backbones import GatedResNetCifar
from mmbas.sliced.native import why_unsupported
print(why_unsupported(folded(GatedResNetCifar(20).eval())))
"""
    environment = {**os.environ, "CXX": "no-such-compiler"}
    root = Path(__file__).resolve().parents[3]
    result = subprocess.run(
        [sys.executable, "-c", lines], env=environment, cwd=root, capture_output=True, text=True
    )
    assert "no C++ compiler was found (no-such-compiler)" in result.stdout, result.stderr


def test_a_compiler_error_is_short(cache, trivial):
    trivial.write_text("int answer() { return nothing; }")
    with pytest.raises(BuildError, match=r"fails: .*error: .*nothing"):
        load(trivial)
    assert list(cache.iterdir()) == []


def test_two_processes_compile_at_the_same_time(cache, trivial):
    lines = f"""
from pathlib import Path
from mmbas.sliced.native.build import Unit, build_library
assert build_library("trivial", (Unit(Path({str(trivial)!r})),)).answer() == 42
"""
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-c", lines]
    processes = [subprocess.Popen(command, cwd=root) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert len(list(cache.iterdir())) == 1


def test_one_openmp_runtime_serves_torch_and_the_kernels(cache, trivial):
    trivial.write_text(
        "#include <omp.h>\n"
        'extern "C" int answer() { int n = 0;\n#pragma omp parallel num_threads(2)\n'
        "{\n#pragma omp atomic\nn++; }\nreturn n; }"
    )
    assert load(trivial).answer() == 2
    if build._loaded_openmp() is None:
        pytest.skip("needs /proc")
    before = _openmp_runtimes()
    trivial.write_text(trivial.read_text().replace("n = 0", "n = 10"))
    assert load(trivial).answer() == 12
    assert _openmp_runtimes() == before


def _openmp_runtimes():
    lines = Path("/proc/self/maps").read_text().splitlines()
    return {line.split()[-1] for line in lines if "/libgomp" in line or "/libiomp" in line}


def test_files_of_two_folders_may_have_one_name(cache, trivial, tmp_path):
    other = tmp_path / "other" / trivial.name
    other.parent.mkdir()
    other.write_text(TRIVIAL.replace("answer", "other"))
    library = build_library("two", (Unit(trivial), Unit(other)))
    assert (library.answer(), library.other()) == (42, 42)


def test_the_library_of_a_wheel_needs_no_compiler(cache, trivial, tmp_path, monkeypatch):
    if build._loaded_openmp() is None:
        pytest.skip("needs /proc")
    monkeypatch.setattr(build, "PREBUILT", tmp_path / "lib")
    trivial.write_text(
        "#include <omp.h>\n"
        'extern "C" int answer() { int n = 0;\n#pragma omp parallel num_threads(2)\n'
        "{\n#pragma omp atomic\nn++; }\nreturn 40 + n; }"
    )
    build.compile_for_wheel("trivial", (Unit(trivial),), tmp_path / "lib")
    before = _openmp_runtimes()
    with monkeypatch.context() as patch:
        patch.setenv("CXX", "no-such-compiler")
        assert load(trivial).answer() == 42
    assert _openmp_runtimes() == before
    assert not cache.exists()
    (tmp_path / "lib" / "trivial.so").write_bytes(b"damaged")
    assert load(trivial).answer() == 42
    assert len(list(cache.iterdir())) == 1
