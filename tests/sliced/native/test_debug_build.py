"""The kernels with assertions: they hold in networks, and end the process where they do not."""

import os
import subprocess
import sys

import pytest
from helpers import ROOT

from mmbas.sliced.native.build import BuildError, find_compiler

NETWORKS = """
import sys, torch
from mmbas.backbones import GatedResNet, GatedResNetCifar
from mmbas.gates import named_gates
from mmbas.sliced.folding import folded
from mmbas.sliced.native import NativeBackbone
torch.manual_seed(0)
for model in (GatedResNet(50, num_stages=2, out_indices=(1,), deep_stem=True, avg_down=True),
              GatedResNetCifar(8)):
    native = NativeBackbone(folded(model.eval()))
    for logit in (-1.0, None, 1.0):
        for threads in (1, 2):
            torch.set_num_threads(threads)
            native(torch.randn(1, 3, 21, 33), [logit] * len(named_gates(model)))
print("done")
"""
# Clears memory behind the end of the workspace.
BROKEN = """
from ctypes import pointer
import torch
from sliced.native.plan_structures import Kind, LayoutStruct, OpStruct, RunStruct, run_plan
from mmbas.sliced.native.structures import CallStruct, Kernels
memory = torch.zeros(64 + 16)
start = memory.data_ptr() + -memory.data_ptr() % 64
op = OpStruct(kind=Kind.CLEAR, out_offset=64, in_offset=65)
layout = LayoutStruct(total=64)
run = RunStruct(ops=pointer(op), num_ops=1, layout=layout, call=pointer(CallStruct()),
                workspace=start, size=1)
run_plan(Kernels.GENERIC, run)
"""


def run(lines):
    try:
        find_compiler()
    except BuildError as error:
        pytest.skip(str(error))
    return subprocess.run(
        [sys.executable, "-c", lines],
        env={**os.environ, "MMBAS_NATIVE_DEBUG": "1", "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_assertions_hold_in_networks():
    result = run(NETWORKS)
    assert result.stdout.endswith("done\n"), result.stderr[-2000:]


def test_a_broken_plan_is_seen():
    result = run(BROKEN)
    assert result.returncode != 0
    assert "Assertion" in result.stderr
