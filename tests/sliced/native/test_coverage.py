"""Why a backbone cannot be run by the native kernels."""

import re

import pytest
import torch
from torch import nn

from mmbas.backbones import GatedResNet
from mmbas.sliced.folding import folded
from mmbas.sliced.native import NativeBackbone, why_unsupported


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
