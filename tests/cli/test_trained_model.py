"""The strict loader: all weights that a test computes with, from what mmengine reads."""

import re

import pytest
import torch
from mmengine.model import BaseTTAModel
from torch import nn

from mmbas.backbones import GatedResNetCifar
from mmbas.cli.trained_model import load_weights, read_checkpoint, save_checkpoint, unwrapped


class Network(nn.Module):
    """A gated backbone, a head, and what only training computes with."""

    def __init__(self, num_classes=10, num_auxiliary=10):
        super().__init__()
        self.backbone = GatedResNetCifar(8)
        self.head = nn.Linear(64, num_classes)
        self.auxiliary_head = nn.Linear(64, num_auxiliary)

    def test_step(self, data):
        raise NotImplementedError


class Augmented(BaseTTAModel):
    def merge_preds(self, data_samples_list):
        raise NotImplementedError


@pytest.fixture
def weights():
    torch.manual_seed(3)
    return Network().state_dict()


@pytest.fixture
def save(tmp_path):
    def write(content):
        torch.save(content, tmp_path / "file.pth")
        return str(tmp_path / "file.pth")

    return write


def assert_loaded(model, weights):
    own = unwrapped(model).state_dict()
    for key in own.keys() & weights.keys():
        torch.testing.assert_close(own[key], weights[key], rtol=0, atol=0)


@pytest.mark.parametrize(
    "pack",
    [
        lambda weights: {"meta": {"epoch": 3}, "state_dict": weights},
        lambda weights: weights,
        lambda weights: {"state_dict": {f"module.{key}": w for key, w in weights.items()}},
        lambda weights: {f"module.{key}": w for key, w in weights.items()},
    ],
)
def test_what_mmengine_reads_is_loaded(save, weights, pack):
    model = Network()
    load_weights(model, save(pack(weights)))
    assert_loaded(model, weights)


@pytest.mark.parametrize(
    "wrap", [Augmented, nn.DataParallel, lambda model: nn.DataParallel(Augmented(model))]
)
def test_a_model_in_wrappers_is_loaded(save, weights, wrap):
    model = wrap(Network())
    load_weights(model, save(weights))
    assert_loaded(model, weights)
    with pytest.raises(ValueError, match="have another shape"):
        load_weights(wrap(Network(num_classes=7)), save(weights))


def without(weights, *ends):
    return {key: value for key, value in weights.items() if not key.endswith(ends)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: without(w, "head.bias"), "lacks head.bias"),
        (lambda w: without(w, "layer3.0.bn2.running_mean"), "lacks backbone.layer3.0.bn2"),
        (lambda w: {**w, "neck.weight": torch.zeros(1)}, "also has neck.weight; use the config"),
        (lambda w: {**w, "head.bias": torch.zeros(7)}, r"head.bias: expected \(10,\), got \(7,\)"),
        (
            lambda w: {key: value for key, value in w.items() if ".gate." not in key},
            "expected a checkpoint with trained gates",
        ),
        (
            lambda w: {f"_orig_mod.{key}": value for key, value in w.items()},
            "such as backbone.+, but got _orig_mod.backbone",
        ),
        (lambda w: {"model": w, "epoch": 3}, "state_dict, but the file has model, epoch; save"),
        (
            lambda w: {"meta": {}, "ema_state_dict": w},
            "state_dict, but the file has meta, ema_state_dict",
        ),
        (lambda w: {"model": w, "step": torch.tensor(3)}, "but got model, step"),
        (lambda w: {"state_dict": {"model": w}}, "state_dict, but the file has state_dict"),
        (lambda w: w["head.bias"], "a dict with the key state_dict, but got Tensor"),
        (lambda w: list(w.values()), "a dict with the key state_dict, but got list"),
    ],
)
def test_whatever_does_not_fit_is_refused(save, weights, change, message):
    path = save(change(dict(weights)))
    with pytest.raises(ValueError, match=message) as error:
        load_weights(Network(), path)
    assert path in str(error.value)
    assert "\n" not in str(error.value)


def test_what_no_test_computes_may_differ(save, weights):
    given = without(weights, "num_batches_tracked", "auxiliary_head.weight")
    given["auxiliary_head.bias"] = torch.zeros(7)
    given["gate_losses.bas.queue.values"] = torch.zeros(5)
    model = Network()
    load_weights(model, save(given))
    assert_loaded(model, without(given, "auxiliary_head.bias"))


def test_a_file_that_torch_cannot_read_is_named(tmp_path):
    path = tmp_path / "legacy.pth"
    path.write_bytes(b"\x80\x02garbage")
    with pytest.raises(ValueError, match=f"expected a checkpoint at {re.escape(str(path))}, but"):
        read_checkpoint(str(path))


def test_a_checkpoint_is_written_whole_or_not_at_all(tmp_path, weights):
    path = tmp_path / "new" / "file.pth"
    save_checkpoint(path, meta={"epoch": 3}, state_dict=weights)
    assert read_checkpoint(str(path))["meta"] == {"epoch": 3}
    assert [entry.name for entry in path.parent.iterdir()] == ["file.pth"]
    load_weights(Network(), str(path))
