"""Each kernel of the bfloat16 path against its portable twin, over random shapes and open sets."""

from ctypes import c_double, c_int
from pathlib import Path

import pytest
import torch

from mmbas.sliced.native.build import BuildError, Unit, build_library
from mmbas.sliced.native.instruction_sets import FLAGS
from mmbas.sliced.native.library import FOLDERS, available
from mmbas.sliced.native.structures import Kernels

CASES = {"pack_outputs": 0, "pack_inputs": 1, "pack_both": 2, "multiply": 3, "finish": 4}
SOURCES = {Kernels.AVX512_BF16: "run_avx512_bf16.cpp", Kernels.AMX: "run_amx.cpp"}


@pytest.fixture(scope="module", params=list(SOURCES), ids=lambda each: each.name.lower())
def kernel_case(request):
    try:
        if request.param not in available(torch.bfloat16):
            pytest.skip("this CPU does not have the instructions")
        flags = (*FLAGS[SOURCES[request.param]], f"-I{FOLDERS[-1]}")
        source = Path(__file__).with_name("kernel_cases.cpp")
        library = build_library(f"cases-{request.param.name.lower()}", (Unit(source, flags),))
    except BuildError as error:
        pytest.skip(str(error))
    library.kernel_case.argtypes = [c_int, c_int]
    library.kernel_case.restype = c_double
    return library.kernel_case


@pytest.mark.parametrize("name", CASES)
def test_kernel_equals_its_twin(kernel_case, name):
    # Sums of up to 900 products of normal values, added in another order.
    tolerance = 1e-3 if name in ("multiply", "finish") else 0
    for seed in range(200):
        assert kernel_case(CASES[name], seed) <= tolerance, seed
