"""Why a backbone cannot be run by the native kernels."""

import re
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmbas.backbones import GatedResNet
from mmbas.backbones.description import UnsupportedError
from mmbas.sliced.folding import folded
from mmbas.sliced.native import NativeBackbone, library, why_unsupported
from mmbas.sliced.native.build import BuildError
from mmbas.sliced.native.library import VARIABLES, available, chosen
from mmbas.sliced.native.structures import Kernels


def folded_resnet():
    return folded(GatedResNet(18).eval())


UNSUPPORTED = {
    "is not folded": lambda: GatedResNet(18).eval(),
    "training mode": lambda: folded_resnet().train(),
    "float64": lambda: folded_resnet().double(),
    "not on the CPU": lambda: folded_resnet().to("meta"),
    "is not a gated ResNet": lambda: nn.Linear(2, 2),
}


@pytest.mark.parametrize("reason", UNSUPPORTED)
def test_why_unsupported(reason):
    model = UNSUPPORTED[reason]()
    assert re.search(reason, why_unsupported(model))
    with pytest.raises(ValueError, match=reason):
        NativeBackbone(model)


def test_a_missing_instruction_set_is_named(monkeypatch):
    monkeypatch.setenv("MMBAS_NATIVE_ISA", "mmx")
    assert "MMBAS_NATIVE_ISA=mmx is not one of" in why_unsupported(folded_resnet())


def test_a_convolution_that_is_not_covered():
    model = folded_resnet()
    model.layer1[0].conv1 = nn.Conv2d(64, 64, 3, padding=1, groups=2)
    assert "is not covered" in why_unsupported(model)
    with torch.no_grad():
        model(torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("dtype", VARIABLES)
def test_kernels_are_ordered_and_can_be_lowered(dtype, monkeypatch):
    slowest = {torch.float32: Kernels.GENERIC, torch.bfloat16: Kernels.PORTABLE}[dtype]
    try:
        assert available(dtype)[-1] == slowest
    except BuildError as error:
        pytest.skip(str(error))
    monkeypatch.setenv(VARIABLES[dtype], slowest.name.lower())
    assert chosen(dtype) == slowest


def test_the_generic_kernels_are_taken_on_x86_by_name_only(monkeypatch):
    monkeypatch.delenv(VARIABLES[torch.float32], raising=False)
    compiled = SimpleNamespace(mmbas_fastest_kernels=lambda _: Kernels.GENERIC)
    monkeypatch.setattr(library, "available", lambda dtype: [Kernels.GENERIC])
    monkeypatch.setattr(library, "get_library", lambda: compiled)
    monkeypatch.setattr(library, "is_x86", lambda: True)
    with pytest.raises(UnsupportedError, match="neither AVX-512 nor AVX2"):
        chosen(torch.float32)
    monkeypatch.setattr(library, "is_x86", lambda: False)
    assert chosen(torch.float32) == Kernels.GENERIC
