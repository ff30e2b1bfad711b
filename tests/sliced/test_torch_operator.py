"""Compiled and exported models hold one operator in place of an accelerated backbone."""

import copy
import gc

import pytest
import torch
from sliced.small_models import images, paths, small_backbone
from torch import nn

from mmbas.gates import force_gate_logits, named_gates, record_gate_outputs
from mmbas.sliced import accelerate


class Model(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, x):
        return self.backbone(2 * x)[-1] + 1


@pytest.fixture(params=paths())
def fast(request):
    backbone = small_backbone(out_indices=(0, 2))
    return accelerate(Model(backbone).eval(), path=request.param)


def test_a_compiled_model_is_one_graph(fast):
    compiled = torch.compile(fast, backend="eager", fullgraph=True)
    for size in ((20, 24), (16, 16), (21, 23), (20, 24)):
        x = images(size=size)
        with torch.no_grad():
            assert torch.equal(compiled(x), fast(x))


def test_gates_are_forced_and_recorded_in_a_compiled_model(fast):
    compiled = torch.compile(fast, backend="eager", fullgraph=True)
    x = images()
    gates = {name: torch.randn(2, gate.num_gates) for name, gate in named_gates(fast).items()}
    with torch.no_grad(), force_gate_logits(fast, gates), record_gate_outputs(fast) as records:
        assert torch.equal(compiled(x), fast(x))
    assert {name: len(outputs) for name, outputs in records.items()} == dict.fromkeys(gates, 2)


def test_the_compiler_of_kernels(fast):
    pytest.importorskip("torch._inductor")
    compiled = torch.compile(fast, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        assert torch.equal(compiled(images()), fast(images()))


@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_program(fast, strict):
    if "strict" not in torch.export.export.__code__.co_varnames:
        pytest.skip("this torch exports in one way")
    program = torch.export.export(fast, (images(),), strict=strict)
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert "mmbas.sliced_backbone.default" in names
    x = images()
    with torch.no_grad():
        assert torch.equal(program.module()(x), fast(x))


def test_shapes_without_data(fast):
    backbone = fast.backbone
    for size in ((20, 24), (21, 23), (1, 1)):
        real = backbone(images(size=size))
        made = backbone.empty_outputs(images(size=size).to("meta"))
        assert [each.shape for each in made] == [each.shape for each in real]
        assert [each.dtype for each in made] == [each.dtype for each in real]


def test_a_copy_has_a_number_of_its_own(fast):
    twin = copy.deepcopy(fast)
    x = images()
    with torch.no_grad():
        expected = fast(x)
        compiled = torch.compile(twin, backend="eager", fullgraph=True)
        assert torch.equal(compiled(x), expected)
    assert twin.backbone._number != fast.backbone._number


def test_a_model_that_is_gone_is_said():
    backbone = accelerate(small_backbone(), path="torch")
    number = backbone._number
    del backbone
    gc.collect()
    with pytest.raises(RuntimeError, match="keep the model that was compiled or exported"):
        torch.ops.mmbas.sliced_backbone(images(), number)
