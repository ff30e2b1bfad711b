"""Shaping of named features: what is sampled, and what the loss makes of it."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from mmbas.backbones import GatedResNetCifar
from mmbas.gates import record_gate_outputs
from mmbas.losses import (
    BatchShapingLoss,
    BetaPrior,
    LearnedPrior,
    NormalPrior,
    ShapingLoss,
    shaping_loss,
)
from mmbas.registry import MODELS


def network():
    torch.manual_seed(7)
    return nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(inplace=True), nn.Conv2d(6, 4, 1))


def shaped(model, images, **options):
    """Loss of one pass, and the loss module."""
    loss = ShapingLoss(**{"prior": NormalPrior(), **options}).bind(model)
    with loss.recording(model) as features:
        model(images)
    return loss(features), loss


def test_a_distribution_for_each_channel():
    model, images = network(), torch.randn(3, 2, 8, 8)
    value, _ = shaped(model, images, features=["0", "2"], loss_weight=0.5)
    first, last = model[0](images), model(images)
    each = [shaping_loss(f.transpose(0, 1).flatten(1).t(), NormalPrior()) for f in (first, last)]
    torch.testing.assert_close(value, 0.5 * (each[0].mean() + each[1].mean()))
    value.backward()
    grad = model[0].weight.grad.clone()
    model.zero_grad()
    (0.5 * (each[0].mean() + each[1].mean())).backward()
    torch.testing.assert_close(grad, model[0].weight.grad)


def test_one_distribution_for_a_layer_and_other_dimensions():
    model, images = network(), torch.randn(3, 2, 8, 8)
    value, _ = shaped(model, images, features=["0"], dim="layer")
    expected = shaping_loss(model[0](images).reshape(-1, 1), NormalPrior())
    torch.testing.assert_close(value, expected[0])
    tokens = nn.Sequential(nn.Linear(2, 5))
    given = torch.randn(4, 7, 2)
    value, _ = shaped(tokens, given, features=["0"], channel_dim=-1)
    expected = shaping_loss(tokens(given).reshape(-1, 5), NormalPrior()).mean()
    torch.testing.assert_close(value, expected)
    value, _ = shaped(tokens, given[:, 0], features=["0"])
    torch.testing.assert_close(value, shaping_loss(tokens(given[:, 0]), NormalPrior()).mean())


@pytest.mark.parametrize("reduction", ["sum", "layer_mean", "mean"])
def test_reductions(reduction):
    model, images = network(), torch.randn(3, 2, 8, 8)
    value, _ = shaped(model, images, features=["0", "2"], reduction=reduction)
    losses = [
        shaping_loss(f.transpose(0, 1).flatten(1).t(), NormalPrior())
        for f in (model[0](images), model(images))
    ]
    expected = {
        "sum": torch.cat(losses).sum(),
        "mean": torch.cat(losses).mean(),
        "layer_mean": losses[0].mean() + losses[1].mean(),
    }
    torch.testing.assert_close(value, expected[reduction])


def test_gate_logits_with_beta_are_the_batch_shaping_loss():
    torch.manual_seed(0)
    backbone, images = GatedResNetCifar(8), torch.randn(6, 3, 16, 16)
    for gate in [m for m in backbone.modules() if hasattr(m, "init_weights") and m is not backbone]:
        gate.init_weights()
    names = [n for n, m in backbone.named_modules() if ".gate." in n and isinstance(m, nn.Linear)]
    last = [name for name in names if name.endswith(names[1].rpartition(".")[2])]
    loss = ShapingLoss(
        features=last, prior=BetaPrior(), form="logits", reduction="sum", max_channels=None
    ).bind(backbone)
    with loss.recording(backbone) as features, record_gate_outputs(backbone) as gates:
        backbone(images)
    outputs = [output for outputs in gates.values() for output in outputs]
    expected = BatchShapingLoss(loss_weight=1.0)(outputs)
    torch.testing.assert_close(loss(features), expected, rtol=1e-6, atol=0)


def test_samples_are_seeded_spread_and_bounded():
    model, images = network(), torch.randn(4, 2, 34, 34)
    options = dict(features=["0"], max_values=64, max_channels=3, prior=NormalPrior())

    def samples(loss, steps=1):
        taken = []
        for _ in range(steps):
            with loss.recording(model) as features:
                model(images)
            taken.append(features["0"])
        return taken

    loss = ShapingLoss(**options).bind(model)
    first, second = samples(loss, steps=2)
    assert tuple(first.values.shape) == (64, 3)
    assert first.num_distributions == 6
    assert not torch.equal(first.values, second.values)
    again = ShapingLoss(**options).bind(model)
    assert torch.equal(samples(again)[0].values, first.values)
    resumed = ShapingLoss(**options).bind(model)
    resumed.load_state_dict(again.state_dict())
    assert torch.equal(samples(resumed)[0].values, second.values)
    resumed.load_state_dict({})  # a checkpoint of an unshaped model
    other = ShapingLoss(**options, seed=1).bind(model)
    assert not torch.equal(samples(other)[0].values, first.values)
    few = ShapingLoss(**{**options, "max_values": 3}).bind(model)
    assert tuple(samples(few)[0].values.shape) == (3, 3)


def test_a_sample_is_unbiased_and_reaches_every_channel():
    model, images = network(), torch.randn(2, 2, 12, 12)
    whole, _ = shaped(model, images, features=["0"], dim="layer", max_values=10**6)
    loss = ShapingLoss(features=["0"], prior=NormalPrior(), max_channels=2).bind(model)
    seen, values = set(), []
    exact = shaping_loss(model[0](images).transpose(0, 1).flatten(1).t(), NormalPrior())
    for _ in range(60):
        with loss.recording(model) as features:
            model(images)
        values.append(loss(features).item())
        seen.update(round(v, 6) for v in features["0"].values[0].tolist())
    assert len(seen) == 6
    assert np.mean(values) == pytest.approx(exact.mean().item(), rel=0.15)
    assert whole.item() > 0


def test_features_take_turns():
    model, images = network(), torch.randn(3, 2, 8, 8)
    loss = ShapingLoss(features=["0", "2"], prior=NormalPrior(), max_features=1).bind(model)
    expected, _ = shaped(model, images, features=["0", "2"])
    seen, values = [], []
    for _ in range(40):
        with loss.recording(model) as features:
            model(images)
        seen += features
        values.append(loss(features).item())
    assert set(seen) == {"0", "2"}
    assert np.mean(values) == pytest.approx(expected.item(), rel=0.2)
    single = shaped(model, images, features=[seen[-1]])[0].item()
    assert values[-1] == pytest.approx(2 * single, rel=1e-5)


def test_half_precision_and_autocast():
    model, images = network(), torch.randn(3, 2, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, _ = shaped(model, images, features=["0", "2"])
    value.backward()
    assert value.dtype == torch.float32
    assert model[0].weight.grad.abs().sum() > 0
    exact, _ = shaped(model, images, features=["0", "2"])
    torch.testing.assert_close(value, exact, rtol=0.05, atol=0)


def test_a_queue_ranks_among_older_values():
    model = network()
    loss = ShapingLoss(features=["2"], prior=NormalPrior(), queue_size=100).bind(model)
    batches = [torch.randn(1, 2, 8, 8) for _ in range(3)]
    older = torch.empty(0, 4)
    for batch in batches:
        with loss.recording(model) as features:
            output = model(batch)
        values = output.detach().transpose(0, 1).flatten(1).t()
        expected = shaping_loss(values, NormalPrior(), other_values=older).mean()
        torch.testing.assert_close(loss(features), expected)
        older = torch.cat([older, values])[-100:]
    twin = ShapingLoss(features=["2"], prior=NormalPrior(), queue_size=100).bind(model)
    twin.load_state_dict(loss.state_dict())
    assert torch.equal(twin.queues["2"].get_extra_state(), older)


def test_weight_zero_skips_the_work():
    model = network()
    loss = ShapingLoss(features=["0"], prior=NormalPrior(), loss_weight=0.5).bind(model)
    loss.factor = 0.0
    with loss.recording(model) as features:
        model(torch.randn(3, 2, 8, 8))
    assert features == {}
    assert loss(features).item() == 0
    assert loss.steps.count == 0


def test_each_feature_learns_its_own_prior():
    model = network()
    prior = LearnedPrior(prior=NormalPrior(0, 2), hyperpriors=dict(mean=NormalPrior(1, 0.5)))
    loss = ShapingLoss(features=["0", "2"], prior=prior).bind(model)
    with loss.recording(model) as features:
        model(torch.randn(3, 2, 8, 8))
    terms = loss.terms_of(features, "x")
    assert list(terms) == ["loss_shaping_x", "loss_shaping_x_hyper"]
    sum(terms.values()).backward()
    assert {n: tuple(p.grad.shape) for n, p in loss.named_parameters()} == {
        "prior.raw.mean": (2,),
        "prior.raw.std": (2,),
    }
    assert all(p.grad.abs().min() > 0 for p in loss.parameters())


def test_errors_say_what_to_do():
    model, images = network(), torch.randn(3, 2, 8, 8)
    with pytest.raises(ValueError, match="nearest names are"):
        ShapingLoss(features=["layer"], prior=NormalPrior()).bind(model)
    loss = ShapingLoss(features=["0"], prior=NormalPrior())
    with pytest.raises(RuntimeError, match="call bind"), loss.recording(model):
        pass
    with (
        pytest.raises(RuntimeError, match=r"\['0'\] to run inside"),
        loss.bind(model).recording(model),
    ):
        pass
    model[0].requires_grad_(False)
    with pytest.raises(RuntimeError, match="it may be frozen"), loss.recording(model):
        model(images)
    with torch.no_grad(), loss.recording(model) as features:
        model(images)
    assert loss(features).item() > 0
    with pytest.raises(ValueError, match="dimension 2 of channels"):
        shaped(nn.Sequential(nn.Linear(2, 3)), torch.randn(3, 2), features=["0"], channel_dim=2)
    with pytest.raises(ValueError, match="at least 2 values"):
        shaped(nn.Sequential(nn.Linear(2, 3)), torch.randn(1, 2), features=["0"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(features="0"), "list of at least one pattern"),
        (dict(features=[]), "list of at least one pattern"),
        (dict(dim="image"), "dim to be one of"),
        (dict(form="probs"), "form to be one of"),
        (dict(reduction="max"), "reduction to be one of"),
        (dict(max_values=1), "max_values >= 2"),
        (dict(max_channels=0), "max_channels >= 1"),
        (dict(max_features=0), "max_features >= 1"),
        (dict(channel_dim=0), "channel_dim"),
        (dict(queue_size=-1), "queue_size >= 0"),
        (dict(loss_weight=-1), "loss_weight >= 0"),
        (dict(min_density=-1), "min_density >= 0"),
        (dict(form="logits", prior=NormalPrior(9, 0.1)), "mass inside"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        ShapingLoss(**{"features": ["0"], "prior": NormalPrior(), **options})


def test_built_from_a_config():
    loss = MODELS.build(
        dict(
            type="mmbas.ShapingLoss",
            features=["0"],
            prior=dict(type="mmbas.NormalPrior"),
            dim="channel",
            max_values=4096,
            loss_weight=0.1,
        )
    )
    assert loss.prior == NormalPrior(0, 1)
    assert "NormalPrior" in repr(loss)
    assert copy.deepcopy(loss).features == ("0",)
