"""The Triton kernels without a GPU: in Triton's interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import ROOT
from sliced.prototype_triton.prepared import prepared

from mmbas.backbones import GatedResNetCifar
from mmbas.sliced.prototype_triton import TritonBackbone, why_unsupported
from mmbas.sliced.prototype_triton.support import why_no_triton


@pytest.mark.skipif(why_no_triton() is not None, reason=str(why_no_triton()))
@pytest.mark.parametrize("cases", ["interpreted_conv_cases.py", "interpreted_network_cases.py"])
def test_interpreted(cases):
    """In a process of its own: whether kernels are interpreted is fixed when triton is imported."""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    environment.pop("PYTEST_ADDOPTS", None)
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            str(Path(__file__).with_name(cases)),
            "-qx",
            *["-p", "no:xdist", "-p", "no:cacheprovider"],
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-2000:]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="interpreted")
def test_without_a_gpu_the_path_says_so():
    backbone = prepared(GatedResNetCifar(20))
    reason = why_no_triton() or "there is no GPU"
    assert reason in why_unsupported(backbone)
    with pytest.raises(ValueError, match=reason):
        TritonBackbone(backbone)
