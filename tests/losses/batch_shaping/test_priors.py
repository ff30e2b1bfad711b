"""Priors against scipy: the CDF in value, the density in relative terms far into the tails."""

import copy
import math
import pickle

import numpy as np
import pytest
import references
import torch
from mmengine.registry import MODELS as MMENGINE_MODELS
from scipy.special import betaln

from mmbas.losses import (
    BatchShapingLoss,
    BetaPrior,
    KumaraswamyPrior,
    NormalPrior,
    Prior,
    UniformPrior,
)
from mmbas.losses.batch_shaping.beta_cdf_grid import beta_cdf_grid

CDF_TOLERANCE = 1e-6  # absolute, float32
NORMAL_CDF_TOLERANCE = 3e-6  # the rounding of x, divided by std
DENSITY_TOLERANCE = 1e-4  # relative, wherever the density is a normal float32
SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)

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
# Prior, CDF and density of scipy at logits.
ORACLES = {
    "uniform": (
        UniformPrior(),
        lambda logits: references.beta_cdf(1, 1, logits),
        lambda logits: references.beta_density(1, 1, logits),
    ),
    "beta": (
        BetaPrior(0.6, 0.4),
        lambda logits: references.beta_cdf(0.6, 0.4, logits),
        lambda logits: references.beta_density(0.6, 0.4, logits),
    ),
    "normal": (
        NormalPrior(0.3, 0.2),
        lambda logits: references.normal_cdf(0.3, 0.2, logits),
        lambda logits: references.normal_density(0.3, 0.2, logits),
    ),
    "normal_outside": (
        NormalPrior(1.4, 0.15),
        lambda logits: references.normal_cdf(1.4, 0.15, logits),
        lambda logits: references.normal_density(1.4, 0.15, logits),
    ),
    "kumaraswamy": (
        KumaraswamyPrior(0.6, 0.4),
        lambda logits: references.kumaraswamy_cdf(0.6, 0.4, logits),
        lambda logits: references.kumaraswamy_density(0.6, 0.4, logits),
    ),
    "kumaraswamy_sharp": (
        KumaraswamyPrior(20.0, 0.05),
        lambda logits: references.kumaraswamy_cdf(20, 0.05, logits),
        lambda logits: references.kumaraswamy_density(20, 0.05, logits),
    ),
}


def logits_in_float32(seed: int) -> np.ndarray:
    """Logits in [-80, 80], denser near 0, each exactly a float32."""
    rng = np.random.default_rng(seed)
    logits = np.concatenate([rng.uniform(-80, 80, 1000), rng.normal(0, 3, 1000), [-80, 0, 80]])
    return logits.astype(np.float32).astype(np.float64)


def assert_matches(prior: Prior, logits: np.ndarray, cdf, density, device: str = "cpu") -> None:
    given = torch.tensor(logits, dtype=torch.float32, device=device)
    got_cdf, got_density = prior.cdf_and_density(given)
    assert got_cdf.dtype == got_density.dtype == torch.float32
    atol = NORMAL_CDF_TOLERANCE if isinstance(prior, NormalPrior) else CDF_TOLERANCE
    np.testing.assert_allclose(
        got_cdf.cpu().double(), cdf, rtol=0, atol=atol, err_msg=f"CDF of {prior}"
    )
    normal = density >= SMALLEST_NORMAL
    np.testing.assert_allclose(
        got_density.cpu().double()[normal],
        density[normal],
        rtol=DENSITY_TOLERANCE,
        err_msg=f"density of {prior}",
    )


@pytest.mark.parametrize("device", DEVICES)
def test_beta_equals_scipy_for_random_shapes(device):
    shapes = np.exp(np.random.default_rng(0).uniform(np.log(0.05), np.log(20), (100, 2)))
    shapes = [*shapes, *np.random.default_rng(1).uniform(0.05, 20, (96, 2))]
    corners = [(0.05, 0.05), (0.05, 20.0), (20.0, 0.05), (20.0, 20.0)]
    for seed, (a, b) in enumerate([*shapes, *corners]):
        logits = logits_in_float32(seed)
        assert_matches(
            BetaPrior(float(a), float(b)),
            logits,
            references.beta_cdf(a, b, logits),
            references.beta_density(a, b, logits),
            device,
        )


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ORACLES)
def test_prior_equals_scipy(name, device):
    prior, cdf, density = ORACLES[name]
    logits = logits_in_float32(0)
    assert_matches(prior, logits, cdf(logits), density(logits), device)


def test_beta_with_a_long_tail_is_exact_beyond_80():
    logits = np.linspace(-600, 600, 2001)
    for a, b in [(0.05, 0.05), (0.05, 20.0), (20.0, 0.05)]:
        cdf = references.beta_cdf(a, b, logits)
        assert_matches(BetaPrior(a, b), logits, cdf, references.beta_density(a, b, logits))


def test_beta_is_exact_where_sigmoid_underflows():
    # For l < -700 there is only the leading term, x^a / (a B(a, b)) with x = exp(l).
    a, logits = 0.01, np.linspace(-1800, -700, 1101)
    below = np.exp(a * logits - np.log(a) - betaln(a, a))
    for sign, cdf in [(1, below), (-1, 1 - below)]:
        density = np.exp(a * logits - betaln(a, a))
        assert_matches(BetaPrior(a, a), sign * logits, cdf, density)


@pytest.mark.parametrize(("a", "b"), [(0.6, 0.4), (0.05, 20.0), (20.0, 20.0), (0.01, 100.0)])
def test_beta_in_float64_is_exact_between_nodes(a, b):
    logits = logits_in_float32(0)
    cdf = references.beta_cdf(a, b, logits)
    got = BetaPrior(a, b).cdf(torch.tensor(logits)).numpy()
    inside = (cdf > 1e-8) & (cdf < 1 - 1e-8)
    np.testing.assert_allclose(got[inside], cdf[inside], rtol=0, atol=1e-12)
    np.testing.assert_allclose(got, cdf, rtol=0, atol=1e-8)


@pytest.mark.parametrize("name", ORACLES)
def test_gradient_of_cdf_is_the_density(name):
    prior = ORACLES[name][0]
    torch.manual_seed(0)
    logits = (3 * torch.randn(40, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(prior.cdf, logits)


@pytest.mark.parametrize("name", ORACLES)
def test_cdf_of_half_precision_is_float32(name):
    prior = ORACLES[name][0]
    logits = torch.linspace(-9, 9, 64).bfloat16().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cdf = prior.cdf(logits)
    cdf.sum().backward()
    assert cdf.dtype == torch.float32
    assert logits.grad.dtype == torch.bfloat16
    torch.testing.assert_close(cdf, prior.cdf(logits.float()), rtol=0, atol=0)


@pytest.mark.parametrize("name", ORACLES)
def test_extreme_logits_reach_both_ends_and_nan_stays_nan(name):
    prior = ORACLES[name][0]
    largest = torch.finfo(torch.float32).max
    logits = torch.tensor([-math.inf, -largest, -1e30, 1e30, largest, math.inf, math.nan])
    cdf, density = prior.cdf_and_density(logits)
    # Past its grid Beta's tail is given as less than 1e-8.
    torch.testing.assert_close(cdf[:6], torch.tensor([0.0] * 3 + [1.0] * 3), rtol=0, atol=1e-7)
    assert torch.equal(density[:6], torch.zeros(6))
    assert cdf[6].isnan()
    assert density[6].isnan()


@pytest.mark.parametrize("name", ORACLES)
def test_cdf_rises_from_0_to_1(name):
    cdf = ORACLES[name][0].cdf(torch.linspace(-100, 100, 100_001))
    assert cdf.min() >= 0
    assert cdf.max() <= 1
    assert cdf.diff().min() >= -2e-7  # two roundings of float32


def test_uniform_and_kumaraswamy_are_the_beta_where_they_coincide():
    logits = torch.linspace(-30, 30, 1001)
    uniform = UniformPrior().cdf_and_density(logits)
    for same in (BetaPrior(1, 1), KumaraswamyPrior(1, 1)):
        torch.testing.assert_close(same.cdf_and_density(logits), uniform, rtol=1e-5, atol=3e-7)
    for a, b in [(3.0, 1.0), (1.0, 3.0)]:  # x^a, and 1 - (1 - x)^b
        torch.testing.assert_close(
            KumaraswamyPrior(a, b).cdf(logits), BetaPrior(a, b).cdf(logits), rtol=0, atol=3e-7
        )


@pytest.mark.parametrize("name", ORACLES)
def test_inputs_are_left_alone_and_outputs_are_new(name):
    logits = torch.randn(4, 5)
    before = logits.clone()
    first = ORACLES[name][0].cdf_and_density(logits)
    kept = [tensor.clone() for tensor in first]
    for tensor in first:
        tensor.zero_()
    assert torch.equal(logits, before)
    torch.testing.assert_close(ORACLES[name][0].cdf_and_density(logits), tuple(kept))


def test_any_shape_and_strides():
    logits = torch.randn(6, 4, 3)
    prior = BetaPrior()
    cdf, density = prior.cdf_and_density(logits.permute(2, 0, 1))
    flat_cdf, flat_density = prior.cdf_and_density(logits.permute(2, 0, 1).reshape(-1))
    torch.testing.assert_close(cdf.reshape(-1), flat_cdf)
    torch.testing.assert_close(density.reshape(-1), flat_density)


def test_grid_built_in_inference_mode_serves_training():
    beta_cdf_grid.cache_clear()
    prior = BetaPrior(0.37, 0.73)
    with torch.inference_mode():
        prior.cdf(torch.randn(3))
    logits = torch.randn(3, requires_grad=True)
    prior.cdf(logits).sum().backward()
    assert logits.grad.min() > 0


def test_priors_are_built_copied_pickled_and_shown():
    built = MMENGINE_MODELS.build(dict(type="mmbas.BetaPrior", a=0.6, b=0.4))
    built.cdf(torch.zeros(1))
    assert built == BetaPrior() == copy.deepcopy(built) == pickle.loads(pickle.dumps(built))
    assert repr(built) == "BetaPrior(a=0.6, b=0.4)"
    for cfg in (
        dict(type="mmbas.UniformPrior"),
        dict(type="mmbas.NormalPrior", mean=0.5, std=0.1),
        dict(type="mmbas.KumaraswamyPrior", a=2, b=3),
    ):
        assert isinstance(MMENGINE_MODELS.build(cfg), Prior)


@pytest.mark.parametrize("prior", [BetaPrior, KumaraswamyPrior])
@pytest.mark.parametrize(
    ("a", "b"), [(0, 1), (1, 0), (-0.6, 0.4), (math.nan, 1), (1, math.inf), (1e-3, 1), (1, 101)]
)
def test_shapes_out_of_range(prior, a, b):
    with pytest.raises(ValueError, match="expected a > 0 and b > 0"):
        prior(a, b)


@pytest.mark.parametrize(("mean", "std"), [(0.5, 0), (0.5, -1), (math.nan, 1), (0.5, math.inf)])
def test_normal_out_of_range(mean, std):
    with pytest.raises(ValueError, match="std > 0"):
        NormalPrior(mean, std)


def test_normal_without_mass_inside():
    with pytest.raises(ValueError, match="mass inside"):
        NormalPrior(3.0, 0.1).cdf(torch.zeros(1))
    with pytest.raises(ValueError, match="mass inside"):
        BatchShapingLoss(prior=NormalPrior(3.0, 0.1))
