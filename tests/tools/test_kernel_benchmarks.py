"""The micro-benchmarks of the native kernels run and say what they measured."""

import json

import pytest

pytest.importorskip("mmengine")

import torch
from helpers import call_tool

from mmbas.sliced.native.build import BuildError
from mmbas.sliced.native.library import available


def _has_kernels():
    try:
        return bool(available(torch.float32))
    except BuildError:
        return False


pytestmark = pytest.mark.skipif(not _has_kernels(), reason="needs a C++ compiler")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_convolution_has_a_bound(tmp_path, monkeypatch, dtype):
    monkeypatch.setenv("MMBAS_NATIVE_ISA", "generic")
    monkeypatch.setenv("MMBAS_NATIVE_BF16_KERNELS", "portable")
    out = tmp_path / "out.json"
    arguments = ["--depths", "18", "--size", "16", "--repeats", "1", "--dtype", dtype]
    arguments += ["--open-fractions", "0.5", "--groups", "8", "--out-json", out]
    call_tool("../benchmarks/kernel_roofline", *arguments)
    (result,) = json.loads(out.read_text())["results"]
    convs = [row for row in result["rows"] if row["step"].startswith("conv")]
    # Twenty of ResNet-18, those of the shortcuts of bfloat16 within the blocks' last ones.
    assert sum(row["count"] for row in convs) == (20 if dtype == "float32" else 17)
    assert all(row["us"] > 0 and row["bound_us"] > 0 and row["gmacs"] > 0 for row in convs)
    assert result["peak_gmacs"] > 0
    assert result["memory_gb"] > 0


@pytest.mark.slow  # compiles the kernels anew
def test_the_footprint_of_a_network(tmp_path, monkeypatch):
    monkeypatch.setenv("MMBAS_NATIVE_ISA", "generic")
    out = tmp_path / "out.json"
    call_tool(
        "../benchmarks/inference_footprint", "--depths", "18", "--size", "32", "--out-json", out
    )
    (row,) = json.loads(out.read_text())["networks"]
    assert row["first_call_s"] > 0
    assert row["later_process_s"] > 0
    # Every 3x3 convolution of ResNet-18, which has 10.99 million weights in them.
    assert round(row["gated_weights_mb"]) == 44
    assert row["sliced_mb"] > row["dense_mb"] > 0
