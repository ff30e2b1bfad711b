"""Sliced execution does not depend on torch's default dtype and device, set before or after."""

import pytest
import torch
from sliced.small_models import assert_close, images, paths, small_backbone

from mmbas.gates import force_gate_logits, record_gate_outputs
from mmbas.sliced import accelerate


@pytest.fixture(params=[torch.float16, torch.bfloat16, torch.float64, "meta"], ids=str)
def set_default(request):
    """Sets a default that is not the usual one."""

    def set_it():
        if request.param == "meta":
            torch.set_default_device("meta")
        else:
            torch.set_default_dtype(request.param)

    yield set_it
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)


@pytest.mark.parametrize("path", paths())
@torch.no_grad()
def test_a_default_set_between_preparation_and_call(set_default, path):
    model, x = small_backbone(), images()
    fast = accelerate(model, path=path)
    expected = model(x)
    set_default()
    with record_gate_outputs(fast) as records:
        assert_close(fast(x), expected)
    assert all(output.logits.dtype == torch.float32 for (output,) in records.values())


@pytest.mark.parametrize("path", paths())
@torch.no_grad()
def test_a_default_set_before_preparation(set_default, path):
    model, x = small_backbone(), images()
    with force_gate_logits(model, 1.0):
        expected = model(x)
    set_default()
    fast = accelerate(model, path=path)
    assert fast.path == path
    with force_gate_logits(fast, 1.0):
        outs = fast(x)
    assert all(out.dtype == torch.float32 and out.device.type == "cpu" for out in outs)
    assert_close(outs, expected)


@pytest.mark.parametrize("path", paths())
def test_logits_of_another_type_and_layout_are_converted(path):
    fast, x = accelerate(small_backbone(), path=path), images()
    names = {
        name: gate.num_gates for name, gate in fast.named_modules() if hasattr(gate, "num_gates")
    }
    logits = {name: torch.randn(2, num_gates) for name, num_gates in names.items()}
    with force_gate_logits(fast, logits):
        expected = fast(x)
    for convert in (torch.Tensor.double, torch.Tensor.bfloat16, lambda t: t.T.contiguous().T):
        with force_gate_logits(fast, {name: convert(value) for name, value in logits.items()}):
            outs = fast(x)
        assert outs[0].dtype == torch.float32
        assert_close(outs, expected)


@pytest.mark.parametrize("path", paths())
def test_logits_of_another_shape_are_refused(path):
    fast, x = accelerate(small_backbone(), path=path), images()
    for wrong in (torch.ones(3), torch.ones(3, 16), torch.ones(2, 17), torch.ones(1, 2, 16)):
        with (
            force_gate_logits(fast, {"layer1.0.gate": wrong}),
            pytest.raises(ValueError, match="expected forced logits that broadcast to"),
        ):
            fast(x)
