"""The loss and the prior that docs/own-loss.md writes are what the page says."""

import re

import pytest
import torch

pytest.importorskip("mmengine")

from source_tree import ROOT

from mmbas.gates import GateOutput
from mmbas.registry import MODELS

PAGE = (ROOT / "docs" / "own-loss.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module", autouse=True)
def page():
    """Registers what the page defines, as importing its modules would."""
    blocks = re.findall(r"^```python\n(from .*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "own-loss.md", "exec"), {"__name__": "own_loss_page"})
    yield
    for name in ("GateEntropyLoss", "PowerPrior"):
        MODELS.module_dict.pop(name)


def test_the_loss_is_the_entropy_of_the_gates():
    loss = MODELS.build(dict(type="mmbas.GateEntropyLoss", loss_weight=0.5))
    logits = torch.tensor([[0.0, 3.0, -200.0], [0.0, -1.0, 200.0]], requires_grad=True)
    entropy = torch.distributions.Bernoulli(logits=logits[:, :2]).entropy().mean(dim=0)
    wanted = 0.5 * (entropy.sum() / 3)  # the third gate has decided: its entropy is 0
    value = loss([GateOutput(logits, (logits > 0).float())])
    torch.testing.assert_close(value, wanted)
    value.backward()
    assert logits.grad.isfinite().all()


def test_the_prior_has_its_cdf_and_the_derivative():
    prior = MODELS.build(dict(type="mmbas.PowerPrior", k=3.0))
    logits = torch.linspace(-6, 6, 9, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(prior.cdf(logits), logits.sigmoid() ** 3)
    assert torch.autograd.gradcheck(prior.cdf, logits)
    for value in prior.cdf_and_density(torch.tensor([-80.0, 80.0])):
        assert value.isfinite().all()
