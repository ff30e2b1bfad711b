"""Priors at values of features against scipy: CDF, density and every finite input."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from mmengine.registry import MODELS as MMENGINE_MODELS
from scipy import stats

from mmbas.losses import (
    BatchShapingLoss,
    BetaPrior,
    EmpiricalPrior,
    KumaraswamyPrior,
    LaplacePrior,
    LinePrior,
    MixturePrior,
    NormalPrior,
    RelaxedBernoulliPrior,
    UniformPrior,
)

QUANTILES = [-2.0, -0.5, 0.25, 1.0, 4.0]


class Kumaraswamy:
    """scipy has none: x^a is a Beta(1, b)."""

    def __init__(self, a, b):
        self.a, self.base = a, stats.beta(1, b)

    def cdf(self, x):
        return np.where(x > 0, self.base.cdf(np.clip(x, 0, 1) ** self.a), 0)

    def pdf(self, x):
        inside = np.clip(x, 1e-300, 1)
        density = self.base.pdf(inside**self.a) * self.a * inside ** (self.a - 1)
        return np.where((x > 0) & (x < 1), density, 0)


class RelaxedBernoulli:
    """scipy has none: its logit is logistic."""

    def __init__(self, prob, temperature):
        self.logistic = stats.logistic(math.log(prob / (1 - prob)) / temperature, 1 / temperature)

    def cdf(self, x):
        inside = np.clip(x, 1e-300, 1 - 1e-16)
        at = np.log(inside) - np.log1p(-inside)
        return np.where(x >= 1, 1, np.where(x <= 0, 0, self.logistic.cdf(at)))

    def pdf(self, x):
        inside = np.clip(x, 1e-300, 1 - 1e-16)
        density = self.logistic.pdf(np.log(inside) - np.log1p(-inside)) / inside / (1 - inside)
        return np.where((x > 0) & (x < 1), density, 0)


class Mixture:
    def cdf(self, x):
        return 0.75 * stats.norm(-2, 0.5).cdf(x) + 0.25 * stats.laplace(2, 0.5).cdf(x)

    def pdf(self, x):
        return 0.75 * stats.norm(-2, 0.5).pdf(x) + 0.25 * stats.laplace(2, 0.5).pdf(x)


class Empirical:
    def cdf(self, x):
        return np.interp(x, QUANTILES, np.linspace(0, 1, 5))

    def pdf(self, x):
        return stats.rv_histogram((np.ones(4), QUANTILES), density=False).pdf(x)


ORACLES = {
    "normal": (NormalPrior(0.3, 1.2), stats.norm(0.3, 1.2)),
    "normal_far": (NormalPrior(50.0, 0.1), stats.norm(50, 0.1)),
    "laplace": (LaplacePrior(0.3, 1.2), stats.laplace(0.3, 1.2)),
    "uniform": (UniformPrior(-1, 2), stats.uniform(-1, 3)),
    "uniform_0_1": (UniformPrior(), stats.uniform(0, 1)),
    "beta": (BetaPrior(2, 6), stats.beta(2, 6)),
    "beta_of_the_paper": (BetaPrior(0.6, 0.4), stats.beta(0.6, 0.4)),
    "kumaraswamy": (KumaraswamyPrior(2, 6), Kumaraswamy(2, 6)),
    "relaxed_bernoulli": (RelaxedBernoulliPrior(0.2, 0.25), RelaxedBernoulli(0.2, 0.25)),
    "mixture": (MixturePrior([NormalPrior(-2, 0.5), LaplacePrior(2, 0.5)], [3, 1]), Mixture()),
    "mixture_of_gates": (MixturePrior([BetaPrior(2, 2), BetaPrior(2, 2)]), stats.beta(2, 2)),
    "empirical": (EmpiricalPrior(QUANTILES), Empirical()),
}
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
        ],
    ),
]


def values_in_float32(seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.normal(0, 3, 500), rng.uniform(0, 1, 500), rng.normal(50, 1, 9)])
    return values.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ORACLES)
def test_value_curves_equal_scipy(name, device):
    prior, oracle = ORACLES[name]
    values = values_in_float32()
    given = torch.tensor(values, dtype=torch.float32, device=device)
    cdf, density = prior.value_cdf_and_density(given)
    assert (cdf.dtype, density.dtype, cdf.device) == (torch.float32, torch.float32, given.device)
    np.testing.assert_allclose(cdf.cpu().double(), oracle.cdf(values), rtol=0, atol=1e-6)
    np.testing.assert_allclose(density.cpu().double(), oracle.pdf(values), rtol=2e-4, atol=1e-7)


@pytest.mark.parametrize("name", ORACLES)
def test_gradient_of_the_cdf_is_the_density(name):
    inside = 0.05 + 0.9 * torch.rand(40, dtype=torch.float64)
    assert torch.autograd.gradcheck(ORACLES[name][0].value_cdf, inside.requires_grad_())
    logits = (2 * torch.randn(20, dtype=torch.float64)).requires_grad_()
    if ORACLES[name][0].mass_inside() > 1e-3:
        assert torch.autograd.gradcheck(ORACLES[name][0].cdf, logits)


@pytest.mark.parametrize("name", ORACLES)
def test_every_finite_value_gives_a_finite_result(name):
    largest = torch.finfo(torch.float32).max
    given = torch.tensor([-largest, -1e30, -1, -1e-45, 0, 1e-45, 1e-38, 0.5, 1, 2, 1e30, largest])
    cdf, density = ORACLES[name][0].value_cdf_and_density(given)
    assert cdf.isfinite().all()
    assert density.isfinite().all()
    assert cdf.diff().min() >= 0
    assert (cdf[0], cdf[-1], density[0], density[-1]) == (0, 1, 0, 0)
    cdf, density = ORACLES[name][0].value_cdf_and_density(torch.tensor([math.nan]))
    assert cdf.isnan().all()
    assert density.isnan().all()


@pytest.mark.parametrize("name", ORACLES)
def test_priors_are_copied_pickled_and_leave_their_input_alone(name):
    prior = ORACLES[name][0]
    assert copy.deepcopy(prior) == pickle.loads(pickle.dumps(prior)) == prior
    values = torch.rand(3, 4).t()
    before = values.clone()
    for curve in prior.value_cdf_and_density(values):
        assert curve.shape == (4, 3)
        curve.zero_()
    assert torch.equal(values, before)


def test_a_line_prior_of_gates_is_read_at_their_probs():
    logits = torch.tensor([-2.0, 0.0, 3.0], dtype=torch.float64)
    cdf, density = LaplacePrior(0.4, 0.2).cdf_and_density(logits)
    probs = logits.sigmoid()
    oracle = stats.laplace(0.4, 0.2)
    np.testing.assert_allclose(cdf, oracle.cdf(probs))
    np.testing.assert_allclose(density, oracle.pdf(probs) * probs.numpy() * (1 - probs.numpy()))
    for prior in (LaplacePrior(9, 0.1), UniformPrior(2, 3), EmpiricalPrior([2, 3])):
        with pytest.raises(ValueError, match="mass inside"):
            BatchShapingLoss(prior=prior)


def test_a_prior_of_your_own_needs_one_method():
    class Logistic(LinePrior):
        def value_cdf_and_density(self, values):
            cdf = values.sigmoid()
            return cdf, cdf * (1 - cdf)

    values = torch.randn(20, dtype=torch.float64)
    np.testing.assert_allclose(Logistic().value_cdf(values), stats.logistic.cdf(values))
    assert Logistic().mass_inside() == pytest.approx(stats.logistic.cdf(1) - 0.5)


def test_built_from_configs():
    normal = dict(type="mmbas.NormalPrior")
    assert MMENGINE_MODELS.build(normal) == NormalPrior(0, 1)
    mixture = MMENGINE_MODELS.build(dict(type="mmbas.MixturePrior", priors=[normal, normal]))
    assert mixture == MixturePrior([NormalPrior(), NormalPrior()], weights=[2, 2])
    cfg = dict(type="mmbas.EmpiricalPrior", quantiles=[0, 1, 2])
    assert MMENGINE_MODELS.build(cfg).quantiles == (0.0, 1.0, 2.0)


def test_an_empirical_prior_of_data_fits_them():
    data = torch.randn(5000, generator=torch.Generator().manual_seed(0))
    prior = EmpiricalPrior.of(data)
    share = prior.value_cdf(data.sort().values).double()
    np.testing.assert_allclose(share, np.arange(1, 5001) / 5001, atol=2e-3)
    with pytest.raises(ValueError, match="zeros after a ReLU"):
        EmpiricalPrior.of(data.relu())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: UniformPrior(1, 1), "low < high"),
        (lambda: UniformPrior(0, math.inf), "low < high"),
        (lambda: LaplacePrior(0, 0), "scale > 0"),
        (lambda: NormalPrior(math.nan), "finite mean"),
        (lambda: RelaxedBernoulliPrior(1.0, 0.5), r"prob in \(0, 1\)"),
        (lambda: RelaxedBernoulliPrior(0.5, 0), "temperature > 0"),
        (lambda: MixturePrior([]), "at least one prior"),
        (lambda: MixturePrior([NormalPrior()], weights=[0]), "weight > 0"),
        (lambda: EmpiricalPrior([1.0]), "at least two finite quantiles"),
        (lambda: EmpiricalPrior([1.0, 1.0]), "quantiles that rise"),
    ],
)
def test_bad_arguments(build, message):
    with pytest.raises(ValueError, match=message):
        build()
    with pytest.raises(TypeError, match="to be a distribution"):
        MixturePrior([3])
