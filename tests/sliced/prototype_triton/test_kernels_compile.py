"""The Triton kernels without a GPU: compiled for one, they use tensor cores and vector loads."""

from __future__ import annotations

import os
import re

import pytest

triton = pytest.importorskip("triton", minversion="3.4")

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from mmbas.sliced.prototype_triton.gated_conv import TILES, Tile  # noqa: E402
from mmbas.sliced.prototype_triton.gated_conv_kernel import gated_conv_kernel, list_open_kernel  # noqa: E402

pytestmark = [
    pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="kernels are interpreted"),
    pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION"),
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


def compile_kernel(kernel, pointers: dict[str, str], constants: dict, options: dict, target: int):
    """Compile as a launch would whose pointers and sizes are multiples of 16."""
    names = kernel.arg_names
    signature = {
        name: "constexpr" if name in constants else pointers.get(name, "i32") for name in names
    }
    source = ASTSource(
        kernel,
        signature,
        constexprs={(names.index(name),): value for name, value in constants.items()},
        attrs={
            (i,): [["tt.divisibility", 16]]
            for i, name in enumerate(names)
            if name in pointers or (name.endswith(("pitch", "stride")) and name not in constants)
        },
    )
    return triton.compile(source, target=GPUTarget("cuda", target, 32), options=options)


def compile_conv(dtype: str, kind: str, tile: Tile, target: int) -> str:
    """PTX of a 3x3 convolution with weights in the layout that :class:`GatedConv` gives them."""
    in_gated, out_gated = kind in ("input", "both"), kind in ("output", "both")
    pointers = dict.fromkeys(["x", "weight", "bias", "residual", "out"], f"*{dtype}")
    pointers.update(dict.fromkeys(["in_lists", "in_counts", "out_lists", "out_counts"], "*i32"))
    constants = dict(
        kernel_size=3,
        stride=1,
        padding=1,
        dilation=1,
        in_gated=in_gated,
        out_gated=out_gated,
        has_residual=not out_gated,
        precision="tf32",
        upcast=False,
        block_m=tile.m,
        block_n=tile.n,
        block_k=tile.k,
    )
    constants["in_stride" if out_gated else "out_stride"] = 1
    options = dict(num_warps=tile.warps, num_stages=tile.num_stages(in_gated=in_gated))
    compiled = compile_kernel(gated_conv_kernel, pointers, constants, options, target)
    assert compiled.metadata.shared <= 99 * 1024  # of one program, on the smallest such GPUs
    return compiled.asm["ptx"]


@pytest.mark.parametrize("kind", ["output", "input", "both"])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_convolution_on_ampere(dtype, kind):
    ptx = compile_conv(dtype, kind, TILES[3], 80)
    assert "mma.sync" in ptx
    # Activations always come in vectors of 16 bytes; so do weights gathered along one axis alone.
    assert re.search(r"cp\.async\.\S+ .*, 0x10", ptx)
    single_weights = len(re.findall(r"cp\.async\.ca\S+ .*, 0x4,|ld\.global\.b16", ptx))
    assert (single_weights > 16) == (kind == "both")


@pytest.mark.parametrize("tile", [TILES[0], TILES[-1]])
def test_convolution_on_hopper(tile):
    ptx = compile_conv("bf16", "input", tile, 90)
    assert ("wgmma" if tile.m >= 64 else "mma.sync") in ptx


def test_list_of_open_channels():
    pointers = {"logits": "*fp32", "lists": "*i32", "counts": "*i32"}
    compiled = compile_kernel(list_open_kernel, pointers, {"block": 512}, {"num_warps": 4}, 80)
    assert "st.global" in compiled.asm["ptx"]
