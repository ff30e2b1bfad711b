"""What the gate losses share: reductions over layers, compiled training."""

import pytest
import torch
from torch import nn

from mmbas.gates import GateOutput
from mmbas.losses import BatchShapingLoss, PerGateLoss
from mmbas.losses.gate_loss import concatenate_logits


def outputs(*layers):
    """Stand-ins for gate outputs, of which the losses read the logits."""
    return [GateOutput(layer, layer) for layer in layers]


class LastLogit(PerGateLoss):
    """Costs the logit of the last image: easy to follow by hand."""

    loss_name = "loss_last"

    def loss_per_gate(self, gate_logits):
        return gate_logits[-1]


@pytest.mark.parametrize(
    ("reduction", "expected"), [("sum", 15.0), ("layer_mean", 9.5), ("mean", 3.0)]
)
def test_reductions_by_hand(reduction, expected):
    # Layers whose gates cost 1, 2 | 3, 5 | 4: sum 15, layer means 1.5 + 4 + 4, mean 15 / 5.
    first, second, third = [[0.0, 0.0], [1.0, 2.0]], [[0.0, 0.0], [3.0, 5.0]], [[0.0], [4.0]]
    layers = outputs(torch.tensor(first), torch.tensor(second), torch.tensor(third))
    loss = LastLogit(loss_weight=0.5, reduction=reduction)
    loss.factor = 0.1
    assert loss(layers).item() == pytest.approx(0.05 * expected, rel=1e-6)


def test_layers_keep_their_gates():
    logits = [torch.randn(4, 3, requires_grad=True), torch.randn(4, 2, requires_grad=True)]
    joined = concatenate_logits(logits)
    assert torch.equal(joined, torch.cat(logits, dim=1))
    joined[1, 3].backward()
    assert logits[1].grad.nonzero().tolist() == [[1, 0]]
    assert not logits[0].grad.any()


def test_compiled_model_is_not_compiled_again_for_every_factor():
    compiled_frames = []

    def backend(graph, example_inputs):
        compiled_frames.append(graph)
        return graph.forward

    loss, linear = BatchShapingLoss(), nn.Linear(3, 4)
    images = torch.randn(8, 3)
    step = torch.compile(lambda x: loss(outputs(linear(x) * 2)), backend=backend)
    first = step(images)
    frames = len(compiled_frames)
    torch.testing.assert_close(first, loss(outputs(linear(images) * 2)))
    for factor in (0.9, 0.8, 0.7):
        loss.factor = factor
        torch.testing.assert_close(step(images), factor * first)
    assert len(compiled_frames) == frames > 0
