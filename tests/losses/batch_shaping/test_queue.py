"""Queue of older logits: ranks by hand, and through mmengine's checkpoints."""

import copy

import numpy as np
import pytest
import references
import torch
from mmengine.runner import load_checkpoint, save_checkpoint
from mmengine.runner.checkpoint import get_state_dict, weights_to_cpu
from scipy.special import logit
from torch import nn

from mmbas.gates import GateOutput
from mmbas.losses import BatchShapingLoss, UniformPrior


def outputs(logits):
    """Stand-in for gate outputs, of which the losses read the logits."""
    return [GateOutput(logits, logits)]


def reference(logits, older):
    return references.batch_shaping(
        logits.detach().double().numpy(),
        lambda values: references.beta_cdf(0.6, 0.4, values),
        lambda values: references.beta_density(0.6, 0.4, values),
        older.double().numpy(),
    )


def test_queue_ranks_among_the_newest_values():
    # Two gates, queue of 3, batches of 2: steps see 0, 2, 3 and 3 older values.
    torch.manual_seed(0)
    batches = [torch.randn(2, 2) for _ in range(4)]
    batches[2][0] = batches[1][1]  # equal to an older value, which is then ranked first
    loss = BatchShapingLoss(loss_weight=1.0, queue_size=3)
    seen = torch.empty(0, 2)
    for batch, num_older in zip(batches, [0, 2, 3, 3], strict=True):
        batch.requires_grad_()
        value = loss(outputs(batch))
        value.backward()
        older = seen[len(seen) - num_older :]
        expected_loss, expected_grad = reference(batch, older)
        assert value.item() == pytest.approx(expected_loss.sum(), rel=1e-5)
        np.testing.assert_allclose(batch.grad, expected_grad, rtol=1e-4, atol=1e-7)
        seen = torch.cat([seen, batch.detach()])
    assert torch.equal(loss.queue.get_extra_state(), seen[-3:])
    assert not loss.queue.get_extra_state().requires_grad


def test_queue_by_hand():
    # F(x) = x. Step 1: x = 1/2 alone is ranked 1 of 1, 1/2: loss 0.
    # Step 2: x = 3/4 among {1/2}, 2 of 2: (3/4 - 2/3)^2 = 1/144.
    # Step 3: x = 1/4 among {1/2, 3/4}, 1 of 3: (1/4 - 1/4)^2 = 0.
    # Step 4: x = 1/4 among {3/4, 1/4}: after its equal, 2 of 3: (1/4 - 2/4)^2 = 1/16.
    loss = BatchShapingLoss(loss_weight=1, prior=UniformPrior(), queue_size=2)
    for prob, expected in [(1 / 2, 0), (3 / 4, 1 / 144), (1 / 4, 0), (1 / 4, 1 / 16)]:
        value = loss(outputs(torch.tensor([[logit(prob)]], dtype=torch.float32)))
        assert value.item() == pytest.approx(expected, abs=1e-7)


def test_queue_larger_and_smaller_than_the_batch():
    batch = torch.randn(8, 2)
    for size, kept in [(3, 3), (20, 8)]:
        loss = BatchShapingLoss(queue_size=size)
        loss(outputs(batch))
        assert torch.equal(loss.queue.get_extra_state(), batch[-kept:])


def test_queue_rests_in_evaluation():
    loss = BatchShapingLoss(queue_size=4)
    loss(outputs(torch.randn(2, 3)))
    before = loss.queue.get_extra_state().clone()
    loss.eval()(outputs(torch.randn(2, 3)))
    assert torch.equal(loss.queue.get_extra_state(), before)


class Net(nn.Module):
    def __init__(self, queue_size):
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.losses = nn.ModuleDict({"bas": BatchShapingLoss(queue_size=queue_size)})

    def forward(self, images):
        return self.losses["bas"](outputs(self.linear(images)))


def test_queue_goes_through_mmengine_checkpoints(tmp_path):
    torch.manual_seed(0)
    batches = [torch.randn(2, 3) for _ in range(5)]
    net = Net(queue_size=5)
    for batch in batches[:4]:
        net(batch)
    state = weights_to_cpu(get_state_dict(net))
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    save_checkpoint(dict(state_dict=state), str(tmp_path / "net.pth"))
    restored = Net(queue_size=5)
    load_checkpoint(restored, str(tmp_path / "net.pth"), strict=True)
    assert len(restored.losses["bas"].queue) == 5
    torch.testing.assert_close(restored(batches[4]), net(batches[4]), rtol=0, atol=0)
    # A smaller queue keeps the newest values.
    small = Net(queue_size=2)
    load_checkpoint(small, str(tmp_path / "net.pth"), strict=True)
    newest = net.losses["bas"].queue.get_extra_state()[-4:-2]
    assert torch.equal(small.losses["bas"].queue.get_extra_state(), newest)


def test_checkpoints_with_and_without_queue_fit_each_other(tmp_path):
    plain, queued = Net(queue_size=0), Net(queue_size=5)
    assert set(plain.state_dict()) == {"linear.weight", "linear.bias"}
    save_checkpoint(dict(state_dict=get_state_dict(plain)), str(tmp_path / "plain.pth"))
    load_checkpoint(queued, str(tmp_path / "plain.pth"), strict=True)
    assert torch.equal(queued.linear.weight, plain.linear.weight)
    queued.load_state_dict(plain.state_dict())
    queued(torch.randn(2, 3))
    plain.load_state_dict(queued.state_dict(), strict=False)
    with pytest.raises(ValueError, match="2-D tensor"):
        queued.losses["bas"].queue.set_extra_state([1.0])


def test_queue_of_another_network():
    loss = BatchShapingLoss(queue_size=4)
    loss(outputs(torch.randn(2, 3)))
    with pytest.raises(ValueError, match="queue of earlier batches, but got 5"):
        loss(outputs(torch.randn(2, 5)))


def test_queue_is_copied_with_its_module():
    loss = BatchShapingLoss(queue_size=4)
    loss(outputs(torch.randn(2, 3)))
    twin = copy.deepcopy(loss)
    loss(outputs(torch.randn(2, 3)))
    assert (len(loss.queue), len(twin.queue)) == (4, 2)
