"""The kernels with assertions: they hold in networks, and end the process where they do not."""

import os
import subprocess
import sys

import pytest
from helpers import ROOT

from mmbas.sliced.native.build import BuildError, find_compiler

LINES = """
import sys, torch
from mmbas.backbones import GatedResNet, GatedResNetCifar
from mmbas.sliced.folding import folded
from mmbas.sliced.native import NativeBackbone
torch.manual_seed(0)
for model in (GatedResNet(50, num_stages=2, out_indices=(1,), deep_stem=True, avg_down=True),
              GatedResNetCifar(8)):
    native = NativeBackbone(folded(model.eval()))
    for logit in (-1.0, None, 1.0):
        for threads in (1, 2):
            torch.set_num_threads(threads)
            native(torch.randn(1, 3, 21, 33), [logit] * len(native._num_gates))
if "break" in sys.argv:
    for workspaces in native._plans.values():
        workspaces.plan.ops[3].out_offset = workspaces.plan.workspace_floats
    native(torch.randn(1, 3, 21, 33), [None] * len(native._num_gates))
print("done")
"""


def run(*arguments):
    try:
        find_compiler()
    except BuildError as error:
        pytest.skip(str(error))
    return subprocess.run(
        [sys.executable, "-c", LINES, *arguments],
        env={**os.environ, "MMBAS_NATIVE_DEBUG": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_assertions_hold_in_networks():
    result = run()
    assert result.stdout.endswith("done\n"), result.stderr[-2000:]


def test_a_broken_plan_is_seen():
    result = run("break")
    assert result.returncode != 0
    assert "Assertion" in result.stderr
