"""What an accelerated model cannot do it refuses, instead of giving something else."""

import warnings

import pytest
import torch
from sliced.small_models import assert_close, images, paths, small_backbone
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from mmbas.costs import count_macs
from mmbas.gates import force_gate_logits
from mmbas.sliced import accelerate

REFUSED = r"expected an accelerated model to be run.*tools/export_onnx.py"


class Model(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, x):
        return self.backbone(2 * x)[-1] + 1


@pytest.fixture(params=paths())
def fast(request):
    return accelerate(Model(small_backbone()).eval(), path=request.param)


def test_tracing(fast):
    with pytest.raises(RuntimeError, match=REFUSED):
        torch.jit.trace(fast, images())


def test_the_exporter_of_onnx(fast, tmp_path):
    pytest.importorskip("onnx")
    with pytest.raises(RuntimeError, match=REFUSED):
        torch.onnx.export(fast, (images(),), str(tmp_path / "model.onnx"), dynamo=False)


def test_scripting_and_symbolic_tracing(fast):
    for trace in (torch.jit.script, torch.fx.symbolic_trace):
        with pytest.raises(RuntimeError, match=REFUSED):
            trace(fast)


@pytest.mark.parametrize("mode", ["real", "fake"])
def test_a_graph_of_operators(fast, mode):
    with pytest.raises(RuntimeError, match=REFUSED):
        make_fx(fast, tracing_mode=mode)(images())


def test_transforms_of_functions(fast):
    x = images()
    with pytest.raises(RuntimeError, match=REFUSED):
        torch.func.jvp(fast, (x,), (x,))
    with pytest.raises(RuntimeError, match=REFUSED):
        torch.func.vmap(fast)(x[None])


def test_a_count_of_a_part_is_refused_and_then_the_model_runs_on(fast):
    expected = fast(images())
    with (
        pytest.raises(RuntimeError, match=r"nor a count of MACs.*count the whole backbone"),
        count_macs(fast.backbone.layer1),
    ):
        fast(images())
    assert torch.equal(fast(images()), expected)


def test_hooks_of_layers_are_taken_off_with_a_warning():
    called = []
    model = Model(small_backbone()).eval()
    model.backbone.layer2[0].conv1.register_forward_hook(lambda *_: called.append("conv"))
    model.backbone.layer3.register_forward_pre_hook(lambda *_: called.append("stage"))
    with pytest.warns(UserWarning, match=r"hooks on layer2.0.conv1, layer3 never run"):
        fast = accelerate(model, path="torch")
    called.clear()
    fast(images())
    assert not called
    model(images())
    assert called == ["conv", "stage"]


def test_a_hook_that_changes_the_result_is_not_left_out():
    model = Model(small_backbone()).eval()
    model.backbone.layer2[0].register_forward_hook(lambda module, inputs, out: 2 * out)
    with pytest.warns(UserWarning, match="never run"), pytest.raises(ValueError, match="differ by"):
        accelerate(model, path="torch")


def test_later_hooks_are_refused_until_they_are_gone(fast):
    x = images()
    expected = fast(x)
    for register in ("register_forward_hook", "register_forward_pre_hook"):
        layer = fast.backbone.layer1[0].gate
        handle = getattr(layer, register)(lambda *_: None)
        with pytest.raises(RuntimeError, match="no hooks on layers.* got some on layer1.0.gate,"):
            fast(x)
        handle.remove()
        assert torch.equal(fast(x), expected)


def test_hooks_of_the_whole_backbone_and_of_heads_run(fast):
    called = []
    fast.backbone.register_forward_hook(lambda *_: called.append("backbone"))
    fast.register_forward_hook(lambda *_: called.append("model"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fast(images())
    assert called == ["backbone", "model"]


def test_autocast_changes_nothing(fast):
    x = images()
    for logits in (1.0, -1.0):
        with force_gate_logits(fast, logits):
            expected = fast.backbone(x)
            with torch.autocast("cpu", torch.bfloat16):
                outs = fast.backbone(x)
        assert [out.dtype for out in outs] == [torch.float32]
        assert torch.equal(outs[0], expected[0])


def test_inference_mode_and_gradients_change_nothing(fast):
    x = images()
    expected = fast(x)
    with torch.inference_mode():
        assert_close([fast(x)], [expected])
    with torch.enable_grad():
        out = fast(x.clone().requires_grad_())
    assert not out.requires_grad
    assert_close([fast(x)], [expected])
