"""tools/export_runtime.py: a file that C programs run, checked against torch."""

import shutil
import subprocess

import pytest
import torch

pytest.importorskip("mmpretrain")

from helpers import (
    DIGITS,
    ROOT,
    assert_help_shows_examples,
    assert_origin,
    error_of,
    json_of,
    run_tool,
    write_checkpoint,
)

from mmbas.sliced.native.build import BuildError
from mmbas.sliced.native.library import library_path
from mmbas.sliced.native.runtime_model import RuntimeModel

try:
    LIBRARY = library_path()
except BuildError as error:
    pytest.skip(str(error), allow_module_level=True)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The tool's result and the file."""
    folder = tmp_path_factory.mktemp("export")
    model = write_checkpoint(DIGITS, folder / "gated.pth")
    classes = tuple(f"digit {i}" for i in range(10))
    meta = {"dataset_meta": {"classes": classes}}
    torch.save({"meta": meta, "state_dict": model.state_dict()}, folder / "gated.pth")
    file = folder / "new" / "gated.mmbas"
    arguments = (run_tool, "export_runtime", DIGITS, folder / "gated.pth", file)
    return json_of(*arguments, out=folder / "result.json"), file


def test_help_shows_examples():
    assert_help_shows_examples("export_runtime")


def test_file_is_written_and_checked(exported):
    result, file = exported
    assert result["max_rel_diff"] <= 1e-4
    assert result["head"]
    assert (result["num_gates"], result["num_classes"]) == (336, 10)
    assert result["megabytes"] == pytest.approx(file.stat().st_size / 1e6)
    assert_origin(result, "export_runtime", DIGITS)
    assert RuntimeModel(file).text("task") == "classification"


def test_wrong_input_is_one_line(tmp_path):
    out = tmp_path / "gated.mmbas"
    assert "expected a checkpoint at" in error_of("export_runtime", DIGITS, tmp_path / "no", out)


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """Compiles an example against the library that Python uses."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")

    def compiled(name):
        program = tmp_path_factory.mktemp("examples") / name
        source = ROOT / "examples" / "c" / f"{name}.c"
        flags = ["-std=c99", "-Wall", "-Werror", f"-I{ROOT / 'include'}", f"-Wl,-rpath,{LIBRARY}"]
        subprocess.run(["gcc", *flags, source, LIBRARY, "-o", program], check=True)
        return program

    return compiled


def output_of(*command, expect=0):
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert result.returncode == expect, result.stderr
    return result.stdout + result.stderr


def test_the_example_classifies_an_image_file(example, exported, tmp_path):
    _, file = exported
    pixels = torch.randint(0, 256, (32, 40, 3), generator=torch.Generator().manual_seed(0)).byte()
    image = tmp_path / "image.ppm"
    image.write_bytes(b"P6\n40 32\n255\n" + pixels.numpy().tobytes())
    classify = example("classify")
    results = RuntimeModel(file)(pixels[None], channels_last=True)
    best = int(results.logits.argmax())
    macs = int(results.macs) / 1e6
    expected = f"class {best} digit {best}, logit {results.logits.max():.4f}, {macs:.2f} M MACs\n"
    assert output_of(classify, file, image) == expected
    assert "is no binary PPM" in output_of(classify, file, file, expect=1)
    assert "is no mmbas file" in output_of(classify, image, image, expect=1)
    assert "usage" in output_of(classify, expect=2)


def test_the_example_measures_latency(example, exported):
    text = output_of(example("latency"), exported[1], 20, 24, 2, 3)
    assert "20x24, 2 threads: open" in text


@pytest.mark.slow
def test_cmake_installs_a_package_that_another_project_finds(exported, tmp_path):
    if shutil.which("cmake") is None:
        pytest.skip("needs cmake")
    build, prefix, other = (tmp_path / name for name in ("build", "prefix", "other"))
    release = ["-DCMAKE_BUILD_TYPE=Release", f"-DCMAKE_INSTALL_PREFIX={prefix}"]
    output_of("cmake", "-S", ROOT, "-B", build, *release)
    output_of("cmake", "--build", build, "--parallel", "2")
    output_of("cmake", "--install", build)
    other.mkdir()
    (other / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(other C)\nfind_package(mmbas REQUIRED)\n"
        f"add_executable(other {ROOT}/examples/c/latency.c)\n"
        "target_link_libraries(other mmbas::mmbas)\n"
    )
    output_of("cmake", "-S", other, "-B", other / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    output_of("cmake", "--build", other / "build")
    assert "open" in output_of(other / "build" / "other", exported[1], 9, 9, 1, 2)


@pytest.mark.slow
def test_one_line_of_the_compiler_builds_it(exported, tmp_path):
    sliced = ROOT / "mmbas" / "sliced"
    sources = [*sliced.glob("native/*/*.cpp"), *sliced.glob("native_bf16/kernels/*.cpp")]
    sources.append(ROOT / "examples" / "c" / "latency.c")
    objects = [
        "-O1",
        "-march=native",
        "-std=c++17",
        "-ffp-contract=fast",
        "-fopenmp",
        f"-I{ROOT / 'include'}",
    ]
    library = tmp_path / "libmmbas.so"
    output_of("g++", *objects, "-shared", "-fPIC", *sources[:-1], "-o", library)
    program = tmp_path / "latency"
    output_of("gcc", f"-I{ROOT / 'include'}", sources[-1], library, "-o", program)
    assert "open" in output_of(program, exported[1], 9, 9, 1, 2)


@pytest.mark.slow
def test_two_models_in_eight_threads_keep_no_memory(exported, tmp_path):
    source = ROOT / "tests" / "sliced" / "native" / "stress_sessions.c"
    program = tmp_path / "stress"
    output_of("gcc", "-O1", f"-I{ROOT / 'include'}", source, LIBRARY, "-lpthread", "-o", program)
    text = output_of(program, exported[1], 8000)
    grown = int(text.partition("grown by ")[2].split()[0])
    assert grown < 4 << 10


@pytest.mark.slow
def test_it_compiles_for_arm_and_gives_the_same_there(exported, tmp_path):
    compiler, emulator = "aarch64-linux-gnu-g++", "qemu-aarch64"
    if shutil.which(compiler) is None or shutil.which(emulator) is None:
        pytest.skip(f"needs {compiler} and {emulator}")
    sliced = ROOT / "mmbas" / "sliced"
    sources = [*sliced.glob("native/*/*.cpp"), *sliced.glob("native_bf16/kernels/*.cpp")]
    program, example = tmp_path / "classify", ROOT / "examples" / "c" / "classify.c"
    flags = ["-O2", "-fopenmp", "-static", "-Wno-psabi", f"-I{ROOT / 'include'}"]
    output_of(compiler, *flags, "-std=c++17", *sources, "-x", "c", example, "-o", program)
    pixels = torch.randint(0, 256, (32, 40, 3), generator=torch.Generator().manual_seed(0)).byte()
    image = tmp_path / "image.ppm"
    image.write_bytes(b"P6\n40 32\n255\n" + pixels.numpy().tobytes())
    text = output_of(emulator, program, exported[1], image)
    results = RuntimeModel(exported[1])(pixels[None], channels_last=True)
    best = int(results.logits.argmax())
    assert text.startswith(f"class {best} digit {best}, logit ")
    assert float(text.split("logit ")[1].split(",")[0]) == pytest.approx(
        results.logits.max().item(), abs=1e-3
    )
