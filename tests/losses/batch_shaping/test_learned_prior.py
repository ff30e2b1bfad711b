"""Learned priors: gradients to their parameters are numeric ones; hyperpriors shape them."""

import copy

import numpy as np
import pytest
import torch
from scipy.special import betainc, expit

from mmbas.gates import GateOutput
from mmbas.losses import (
    BatchShapingLoss,
    BetaPrior,
    KumaraswamyPrior,
    LaplacePrior,
    LearnedPrior,
    MixturePrior,
    NormalPrior,
    RelaxedBernoulliPrior,
    batch_shaping_loss,
    shaping_loss,
)
from mmbas.losses.batch_shaping.learned_beta_cdf import learned_beta_cdf
from mmbas.registry import MODELS

FAMILIES = {
    "relaxed_bernoulli": RelaxedBernoulliPrior(0.3, 0.6),
    "beta": BetaPrior(0.6, 0.4),
    "beta_thin": BetaPrior(2, 6),
    "kumaraswamy": KumaraswamyPrior(0.6, 1.4),
    "normal": NormalPrior(0.4, 0.3),
    "laplace": LaplacePrior(0.4, 0.3),
}
HYPER = dict(type="mmbas.BetaPrior", a=3, b=7)


def learned(prior, num_sets=3, **options):
    prior = LearnedPrior(prior=prior, hyperpriors={}, **options).double()
    prior.reserve(num_sets)
    return prior.double()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_learned_prior_starts_as_the_fixed_one(name):
    values = torch.rand(40, 3, dtype=torch.float64)
    prior = learned(FAMILIES[name])
    expected = shaping_loss(values, FAMILIES[name])
    torch.testing.assert_close(shaping_loss(values, prior), expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", FAMILIES)
def test_gradients_to_values_and_parameters_are_numeric_ones(name):
    torch.manual_seed(0)
    values = (0.05 + 0.9 * torch.rand(12, 2, dtype=torch.float64)).requires_grad_()
    prior = learned(FAMILIES[name], num_sets=2)
    names = list(prior.raw)

    def loss(values, *raw):
        twin = copy.copy(prior)
        twin.raw = torch.nn.ParameterDict()
        values_by_name = dict(zip(names, raw, strict=True))
        object.__setattr__(twin, "parameters_now", lambda: _constrained(prior, values_by_name))
        return shaping_loss(values, twin)

    raw = [prior.raw[each].detach().clone().requires_grad_() for each in names]
    raw[0].data += torch.tensor([0.2, -0.1])
    # The cubic between the nodes of Beta has the density of its own slope, exact to 1e-5.
    assert torch.autograd.gradcheck(loss, (values, *raw), atol=1e-6, rtol=1e-4)


def _constrained(prior, raw):
    functions = {"real": lambda x: x, "positive": torch.exp, "unit": torch.sigmoid}
    return {name: functions[prior.prior.learnable[name]](value) for name, value in raw.items()}


@pytest.mark.parametrize(("a", "b"), [(0.6, 0.4), (2, 6), (0.05, 20), (20, 20), (0.05, 0.05)])
def test_beta_as_a_formula_equals_scipy(a, b):
    logits = np.linspace(-30, 30, 601)
    shapes = [torch.tensor([shape], dtype=torch.float64, requires_grad=True) for shape in (a, b)]
    cdf = learned_beta_cdf(torch.tensor(logits)[:, None], *shapes)[:, 0]

    def exact(a, b):
        below, above = betainc(a, b, expit(logits)), 1 - betainc(b, a, expit(-logits))
        return np.where(logits <= 0, below, above)

    np.testing.assert_allclose(cdf.detach(), exact(a, b), rtol=0, atol=1e-6)
    grads = torch.autograd.grad((cdf * torch.tensor(np.cos(logits))).sum(), shapes)
    for grad, step in zip(grads, [(1e-4 * a, 0), (0, 1e-4 * b)], strict=True):
        ahead, behind = (exact(a + s * step[0], b + s * step[1]) for s in (1, -1))
        numeric = np.sum((ahead - behind) * np.cos(logits)) / 2 / sum(step)
        assert grad.item() == pytest.approx(numeric, rel=1e-3, abs=1e-5)


def test_every_layer_has_its_own_parameters():
    loss = MODELS.build(
        dict(
            type="mmbas.BatchShapingLoss",
            loss_weight=0.5,
            prior=dict(
                type="mmbas.LearnedPrior",
                prior=dict(type="mmbas.RelaxedBernoulliPrior", prob=0.6, temperature=0.5),
                hyperpriors=dict(prob=HYPER),
                penalties=dict(temperature=0.1),
            ),
        )
    )
    loss.prepare_layers([2, 3])
    assert {name: tuple(p.shape) for name, p in loss.named_parameters()} == {
        "prior.raw.prob": (2,),
        "prior.raw.temperature": (2,),
    }
    loss.prior.raw["prob"].data = torch.tensor([0.3, 0.7]).logit()
    assert loss.prior.fixed(1).prob == pytest.approx(0.7)
    layers = [torch.randn(9, 2), torch.randn(9, 3)]
    terms = loss.terms([GateOutput(layer, layer) for layer in layers], lambda: 0)
    priors = [RelaxedBernoulliPrior(prob, 0.5) for prob in (0.3, 0.7)]
    expected = sum(
        batch_shaping_loss(layer, prior).sum() for layer, prior in zip(layers, priors, strict=True)
    )
    torch.testing.assert_close(terms["loss_bas"], 0.5 * expected)
    hyper = shaping_loss(torch.tensor([[0.3], [0.7]]), BetaPrior(3, 7)).sum() + 0.1 * 0.5
    torch.testing.assert_close(terms["loss_bas_hyper"], 0.5 * hyper)
    sum(terms.values()).backward()
    assert all(p.grad.abs().min() > 0 for p in loss.parameters())
    loss.factor = 0.0  # every parameter has a gradient, which several processes need
    terms = loss.terms([GateOutput(layer, layer) for layer in layers], lambda: 0)
    loss.zero_grad()
    sum(terms.values()).backward()
    assert [p.grad.abs().sum().item() for p in loss.parameters()] == [0, 0]


def test_one_set_for_each_gate():
    prior = LearnedPrior(prior=BetaPrior(), hyperpriors={}, shared="gate", learn=["a"])
    loss = BatchShapingLoss(prior=prior)
    loss.prepare_layers([2, 3])
    assert [tuple(p.shape) for p in loss.parameters()] == [(5,)]
    assert loss.prior.parameters_now()["b"].tolist() == pytest.approx([0.4] * 5)


def test_one_number_sets_the_sparsity_of_all_layers():
    """Free gates and probs of six layers: their mean open share is the hyperprior's mean."""
    for wanted in (0.3, 0.6):
        torch.manual_seed(0)
        loss = BatchShapingLoss(
            prior=LearnedPrior(
                prior=RelaxedBernoulliPrior(0.5, 0.4),
                hyperpriors=dict(prob=NormalPrior(wanted, 0.05)),
                learn=["prob"],
                hyper_weight=10.0,
                min_density=0.1,
            ),
            reduction="mean",
        )
        loss.prepare_layers([1] * 6)
        layers = [(torch.randn(128, 1)).requires_grad_() for _ in range(6)]
        optimizer = torch.optim.Adam([*layers, *loss.parameters()], lr=0.1)
        for _ in range(150):
            optimizer.zero_grad()
            outputs = [GateOutput(layer, layer) for layer in layers]
            sum(loss.terms(outputs, lambda: 0).values()).backward()
            optimizer.step()
        open_shares = torch.stack([(layer > 0).float().mean() for layer in layers])
        assert open_shares.mean().item() == pytest.approx(wanted, abs=0.05)
        assert open_shares.std() > 0.01


def test_the_floor_reaches_learned_priors_too():
    values = torch.tensor([[0.2], [0.99], [0.995]], requires_grad=True)
    prior = LearnedPrior(prior=BetaPrior(2, 6), hyperpriors={})
    prior.reserve(1)
    for floor in (0.0, 0.5):
        grads = [
            torch.autograd.grad(shaping_loss(values, each, min_density=floor).sum(), values)[0]
            for each in (prior, BetaPrior(2, 6))
        ]
        torch.testing.assert_close(*grads, rtol=1e-3, atol=1e-7)


def test_bad_arguments():
    with pytest.raises(TypeError, match="can be learned"):
        LearnedPrior(prior=MixturePrior([NormalPrior()]), hyperpriors={})
    with pytest.raises(ValueError, match=r"\['a', 'b'\], but got \['c'\]"):
        LearnedPrior(prior=BetaPrior(), hyperpriors=dict(c=HYPER))
    with pytest.raises(ValueError, match="shared to be one of"):
        LearnedPrior(prior=BetaPrior(), hyperpriors={}, shared="network")
    with pytest.raises(ValueError, match="penalties, hyper_weight"):
        LearnedPrior(prior=BetaPrior(), hyperpriors={}, penalties=dict(a=-1))
    with pytest.raises(ValueError, match="at least 2 layers"):
        LearnedPrior(prior=BetaPrior(), hyperpriors=dict(a=HYPER)).reserve(1)
    with pytest.raises(ValueError, match=r"on \(0, 1\) to be learned for gates"):
        BatchShapingLoss(prior=LearnedPrior(prior=NormalPrior(), hyperpriors={}))
    loss = BatchShapingLoss(prior=LearnedPrior(prior=BetaPrior(), hyperpriors={}))
    with pytest.raises(RuntimeError, match="knows its layers"):
        loss([GateOutput(torch.randn(4, 2), torch.randn(4, 2))])
