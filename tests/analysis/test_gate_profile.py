"""Profiles of real models equal what the images' own predictions say, one by one."""

import pytest
import torch
from analysis.profiles import profile_of

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")

from helpers import build_model, write_config
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from torch import nn

from mmbas.analysis import profile_gates
from mmbas.gates import Gate, record_gate_outputs

DIGITS = [str(digit) for digit in range(10)]


@pytest.fixture(scope="module")
def profiled(tmp_path_factory):
    """A profile of 40 images in batches of 16, and the 40 predictions with their gate outputs."""
    config = write_config(tmp_path_factory.mktemp("profile"))
    model, loader = build_model(config), dict(Config.fromfile(config).test_dataloader)
    batches = Runner.build_dataloader(loader)
    profile = profile_gates(model, batches, name="net", classes=DIGITS)
    samples, probs = [], []
    with torch.no_grad():
        for data in Runner.build_dataloader(dict(loader, batch_size=1)):
            with record_gate_outputs(model) as records:
                samples += model.test_step(data)
            probs.append(torch.cat([output.probs for (output,) in records.values()], dim=1)[0])
    return profile, samples, torch.stack(probs)


def test_layers_are_those_of_the_network(profiled):
    profile, *_ = profiled
    sizes = [16] * 3 + [32] * 3 + [64] * 3
    names = [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(3)]
    assert profile.layers == dict(zip(names, sizes, strict=True))
    assert profile.slices["layer2.0"] == slice(48, 80)
    assert profile.layer_of(48) == ("layer2.0", 0)
    assert profile.layer_of(335) == ("layer3.2", 63)
    with pytest.raises(ValueError, match="expected a gate from 0 to 335, but got 336"):
        profile.layer_of(336)


def test_rates_and_probs_are_those_of_the_images(profiled):
    profile, samples, probs = profiled
    gates = torch.stack([sample.gates for sample in samples]).double()
    torch.testing.assert_close(
        torch.from_numpy(profile.open_rates), gates.mean(dim=0), rtol=1e-12, atol=0
    )
    # Batches of another size round differently.
    torch.testing.assert_close(
        torch.from_numpy(profile.mean_probs), probs.double().mean(dim=0), rtol=0, atol=1e-5
    )
    assert profile.prob_shares.sum(axis=1) == pytest.approx(1)
    labels = torch.cat([sample.gt_label for sample in samples])
    assert profile.counts.class_images.tolist() == torch.bincount(labels, minlength=10).tolist()
    threes = gates[labels == 3].mean(dim=0)
    torch.testing.assert_close(torch.from_numpy(profile.class_rates[3]), threes, rtol=1e-12, atol=0)
    gate = int(gates.sum(dim=0).argmin())
    assert profile.examples(gate) == gates[:, gate].nonzero().flatten().tolist()[:6]


def test_table_of_images_is_in_order(profiled):
    profile, samples, _ = profiled
    assert [image.macs for image in profile.images] == [sample.macs for sample in samples]
    expected = [sample.macs / sample.dense_macs for sample in samples]
    assert profile.macs_fractions.tolist() == expected
    for image, sample in zip(profile.images, samples, strict=True):
        assert image.outcome.correct == float(sample.pred_label == sample.gt_label)
        loss = torch.nn.functional.nll_loss(sample.pred_score[None].log(), sample.gt_label)
        assert image.outcome.loss == pytest.approx(float(loss), abs=1e-5)


def test_a_plain_network_is_refused(tmp_path):
    config = write_config(tmp_path, "model = dict(backbone=dict(gate=None), gate_losses=None)")
    batches = Runner.build_dataloader(Config.fromfile(config).test_dataloader)
    with pytest.raises(ValueError, match="expected images and a model with gates, but got 40"):
        profile_gates(build_model(config), batches, name="plain", classes=DIGITS)


def test_rates_by_hand():
    profile = profile_of(
        [[1, 0], [1, 1]], probs=[[0.75, 0.25], [1.0, 0.75]], layers={"a": 1, "b": 1}
    )
    assert profile.open_rates.tolist() == [1.0, 0.5]
    assert profile.mean_probs.tolist() == [0.875, 0.5]
    assert profile.examples(1) == [1]


class OneGate(Gate):
    """A gate whose logits are its input."""

    def compute_logits(self, x):
        return x


class SlidingModel(nn.Module):
    """Looks twice at each image, as sliding windows do."""

    def __init__(self):
        super().__init__()
        self.gate = OneGate(2)

    def test_step(self, data):
        gates = torch.stack([self.gate(window).gates > 0 for window in data]).any(dim=0)
        costs = dict(macs=1.0, dense_macs=2, open_fraction=0.5)
        return [DataSample(gates=row, **costs) for row in gates]


def test_of_several_windows_the_most_open_counts():
    windows = [torch.tensor([[2.0, -2.0], [-1.0, -1.0]]), torch.tensor([[-3.0, -1.0], [0.5, -2.0]])]
    profile = profile_gates(SlidingModel().eval(), [windows], name="net", classes=())
    assert profile.open_rates.tolist() == [1.0, 0.0]
    probs = torch.tensor([[2.0, -1.0], [0.5, -1.0]]).sigmoid().double().mean(dim=0)
    assert profile.mean_probs == pytest.approx(probs.numpy(), abs=1e-6)
