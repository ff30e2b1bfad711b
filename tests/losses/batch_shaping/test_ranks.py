"""Ranks: both ways to sort agree with numpy, on every kind of value."""

import math

import numpy as np
import torch

from mmbas.losses.batch_shaping.ranks import batch_ranks


def test_ranks_in_float32_and_float64_agree_on_every_kind_of_value():
    torch.manual_seed(0)
    largest = torch.finfo(torch.float32).max
    special = torch.tensor([0.0, -0.0, 1e-45, -1e-45, largest, -largest, math.inf, -math.inf])
    values = torch.cat([torch.randn(40), special, special, torch.randn(40).bfloat16().float()])
    rows = torch.stack([values[torch.randperm(len(values))] for _ in range(50)])
    assert torch.equal(batch_ranks(rows).double(), batch_ranks(rows.double()))
    order = np.argsort(rows.numpy(), axis=1, kind="stable")
    expected = np.empty(order.shape)
    np.put_along_axis(expected, order, np.arange(1, len(values) + 1)[None].repeat(50, 0), 1)
    np.testing.assert_array_equal(batch_ranks(rows).numpy(), expected)
