"""Models that others have prepared: pruned, normalised, quantised, compiled."""

import pytest
import torch
from sliced.small_models import assert_close, images, small_backbone
from torch import nn
from torch.nn.utils import prune

from mmbas.costs import count_macs
from mmbas.gates import record_gate_outputs
from mmbas.sliced import accelerate
from mmbas.sliced.sliced_backbone import SlicedBackbone


class Model(nn.Module):
    def __init__(self, backbone, neck):
        super().__init__()
        self.backbone = backbone
        self.neck = neck

    def forward(self, x):
        return self.neck(self.backbone(x)[-1])


def parametrized_weight_norm(conv):
    nn.utils.parametrizations.weight_norm(conv)


PREPARED = {
    "pruned": lambda conv: prune.random_unstructured(conv, "weight", amount=0.5),
    "weight norm": nn.utils.weight_norm,
    "weight norm as a parametrisation": parametrized_weight_norm,
    "spectral norm": nn.utils.spectral_norm,
    "spectral norm as a parametrisation": nn.utils.parametrizations.spectral_norm,
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
@pytest.mark.parametrize("where", ["backbone.layer1.0.conv1", "backbone.conv1"])
@pytest.mark.parametrize("name", PREPARED)
@torch.no_grad()
def test_computed_weights_of_the_backbone_are_refused(name, where):
    model = Model(small_backbone(), nn.Conv2d(64, 3, 1)).eval()
    with torch.enable_grad():
        PREPARED[name](model.get_submodule(where))
    for _ in range(2):  # a call in between replaces what can be copied
        with pytest.raises(ValueError, match="conv1.*; (make it permanent|merge|run the masked)"):
            accelerate(model)
        model(images())


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
@pytest.mark.parametrize("where", ["neck", "backbone.layer1.0.gate.fc1"])
@pytest.mark.parametrize("name", PREPARED)
@torch.no_grad()
def test_computed_weights_elsewhere_work_or_are_refused(name, where):
    model = Model(small_backbone(), nn.Conv2d(64, 3, 1)).eval()
    with torch.enable_grad():
        PREPARED[name](model.get_submodule(where))
    x = images()
    expected = model(x)
    copies = all(
        value.is_leaf
        for value in vars(model.get_submodule(where)).values()
        if isinstance(value, torch.Tensor)
    )
    if copies:
        assert_close([accelerate(model)(x)], [expected], tolerance=1e-3)
    else:
        with pytest.raises(ValueError, match="make it permanent"):
            accelerate(model)


@torch.no_grad()
def test_dynamically_quantized_linear_layers_work_or_are_refused():
    model = Model(small_backbone(), nn.Sequential(nn.Flatten(), nn.LazyLinear(4)))
    model(images())
    quantized = torch.ao.quantization.quantize_dynamic(model.eval(), {nn.Linear}, torch.qint8)
    expected = quantized(images())
    assert_close([accelerate(quantized)(images())], [expected], tolerance=1e-3)


def test_quantized_linear_layers_cost_what_they_did():
    model = Model(small_backbone(), nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    model = nn.Sequential(model, nn.Linear(64, 4)).eval()
    quantized = torch.ao.quantization.quantize_dynamic(model, {nn.Linear}, torch.qint8)
    macs = []
    for each in (model, quantized, accelerate(quantized)):
        with torch.no_grad(), count_macs(each) as count:
            each(images())
        macs.append(count.module_macs)
    assert macs[0] == macs[1] == macs[2]


def test_a_wrapped_convolution_is_named():
    class Scaled(nn.Module):
        def __init__(self, conv):
            super().__init__()
            self.conv = conv

        def forward(self, x):
            return 2 * self.conv(x)

    backbone = small_backbone()
    backbone.layer1[0].conv1 = Scaled(backbone.layer1[0].conv1)
    for run in (lambda: backbone(images()), lambda: recorded(backbone)):
        with pytest.raises(TypeError, match="expected a Conv2d.*but got Scaled; merge"):
            run()
    with pytest.raises(ValueError, match=r"layer1\.0\.conv1 is a Scaled"):
        accelerate(backbone)


def recorded(backbone):
    with record_gate_outputs(backbone) as records:
        backbone(images())
    return records


@pytest.mark.parametrize("place", ["model", "backbone", "a method", "a part of a model"])
def test_a_model_that_was_compiled_before(place):
    """Compiled code runs what it was compiled from, so no copy may hold it."""
    model = Model(small_backbone(), nn.Conv2d(64, 3, 1)).eval()
    expected = model(images())
    if place == "model":
        model = torch.compile(model, backend="eager")
    elif place == "backbone":
        model.backbone = torch.compile(model.backbone, backend="eager")
    elif place == "a method":
        model.forward = torch.compile(model.forward, backend="eager")
    else:
        model = torch.compile(nn.Sequential(model).eval(), backend="eager")
    fast = accelerate(model, path="torch")
    sliced = [module for module in fast.modules() if isinstance(module, SlicedBackbone)]
    calls = []
    sliced[0].register_forward_hook(lambda *_: calls.append(1))
    assert_close([fast(images())], [expected])
    assert len(sliced) == len(calls) == 1


def test_a_compiled_backbone_alone():
    backbone = small_backbone()
    fast = accelerate(torch.compile(backbone, backend="eager"), path="torch")
    assert isinstance(fast, SlicedBackbone)
    assert_close(fast(images()), backbone(images()))
