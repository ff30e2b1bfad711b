"""``accelerate(model, dtype='bfloat16')``: which path runs, and what it decides."""

import copy
import pickle

import pytest
import torch

from mmbas.backbones import GatedResNetCifar
from mmbas.gates import force_gate_logits, named_gates, record_gate_outputs
from mmbas.sliced import accelerate, count_gate_flips
from mmbas.sliced.native.build import BuildError
from mmbas.sliced.native.library import VARIABLES, get_library

ENVIRONMENT_VARIABLE = VARIABLES[torch.bfloat16]

try:
    get_library()
except BuildError as error:
    pytest.skip(str(error), allow_module_level=True)


@pytest.fixture(autouse=True)
def _portable(monkeypatch):
    """Runs everywhere; the faster kernels have their own tests."""
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "portable")


@pytest.fixture
def backbone():
    torch.manual_seed(0)
    return GatedResNetCifar(14).eval()


def test_asked_for_by_dtype(backbone):
    for dtype in ("bfloat16", torch.bfloat16):
        assert accelerate(backbone, dtype=dtype).path == "native_bf16"
    assert accelerate(backbone, dtype="bfloat16", path="native").path == "native_bf16"


def test_float32_is_as_before_unless_asked(backbone):
    assert accelerate(backbone).path != "native_bf16"


def test_a_bfloat16_model_takes_it_by_itself(backbone):
    x = torch.randn(2, 3, 32, 32).bfloat16()
    sliced = accelerate(backbone.bfloat16())
    assert sliced.path == "native_bf16"
    assert sliced(x)[0].dtype == torch.bfloat16


def test_float32_images_give_float32_feature_maps(backbone):
    x = torch.randn(2, 3, 32, 32)
    gates = {name: torch.randn(2, gate.num_gates) for name, gate in named_gates(backbone).items()}
    sliced = accelerate(backbone, dtype="bfloat16")
    with torch.no_grad(), force_gate_logits(backbone, gates):
        (expected,) = backbone(x)
    with force_gate_logits(sliced, gates):
        (actual,) = sliced(x)
    assert actual.dtype == torch.float32
    torch.testing.assert_close(actual, expected, rtol=0, atol=0.02 * expected.abs().max().item())


def test_gates_are_recorded(backbone):
    sliced = accelerate(backbone, dtype="bfloat16")
    with record_gate_outputs(sliced) as records:
        sliced(torch.randn(2, 3, 32, 32))
    assert {name: len(outputs) for name, outputs in records.items()} == dict.fromkeys(
        named_gates(backbone), 1
    )


def test_copies_compute_in_bfloat16_too(backbone):
    sliced = accelerate(backbone, dtype="bfloat16")
    x = torch.randn(1, 3, 32, 32)
    for twin in (copy.deepcopy(sliced), pickle.loads(pickle.dumps(sliced))):
        assert twin.path == "native_bf16"
        torch.testing.assert_close(twin(x)[0], sliced(x)[0], rtol=0, atol=0)


def test_only_gates_near_a_tie_flip(backbone):
    flips = count_gate_flips(
        backbone, accelerate(backbone, dtype="bfloat16"), torch.randn(4, 3, 32, 32)
    )
    assert flips.num_decisions == 4 * sum(gate.num_gates for gate in named_gates(backbone).values())
    assert flips.num_flips <= 0.02 * flips.num_decisions
    assert flips.largest_margin < 0.02


def test_flips_are_counted(backbone):
    """Half of the images' gates decided by another network."""
    other = accelerate(copy.deepcopy(backbone), path="torch")
    with torch.no_grad():
        for gate in named_gates(backbone).values():
            gate.fc2.bias += 10
    flips = count_gate_flips(backbone, other, torch.randn(2, 3, 32, 32))
    assert flips.num_flips > 0
    assert flips.largest_margin > 1


def test_without_fast_bfloat16_auto_computes_in_float32(backbone, monkeypatch):
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "none")
    assert accelerate(backbone, dtype="bfloat16").path in ("native", "torch")
    with pytest.raises(ValueError, match=f"{ENVIRONMENT_VARIABLE}=none is not one of"):
        accelerate(backbone, dtype="bfloat16", path="native")


def test_wrong_arguments_are_refused(backbone):
    with pytest.raises(ValueError, match="dtype None or 'bfloat16'"):
        accelerate(backbone, dtype="float16")
    with pytest.raises(ValueError, match="for the native kernels, but got path='torch'"):
        accelerate(backbone, path="torch", dtype="bfloat16")
