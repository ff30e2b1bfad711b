"""Binary concrete gates: 0/1 decisions that can be trained.

C. Maddison, A. Mnih, Y. W. Teh: The Concrete Distribution, ICLR 2017, https://arxiv.org/abs/1611.00712
E. Jang, S. Gu, B. Poole: Categorical Reparameterization with Gumbel-Softmax, ICLR 2017,
https://arxiv.org/abs/1611.01144
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


class _StraightThroughStep(torch.autograd.Function):
    """``1[z > 0]`` forward; backward the gradient of ``sigmoid(z / temperature)``."""

    @staticmethod
    def forward(ctx: Any, perturbed_logits: Tensor, temperature: Tensor | float) -> Tensor:
        ctx.save_for_backward(perturbed_logits)
        ctx.temperature = temperature
        return (perturbed_logits > 0).to(perturbed_logits.dtype)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (perturbed_logits,) = ctx.saved_tensors
        y = torch.sigmoid(perturbed_logits / ctx.temperature)
        return grad_outputs[0] * y * (1 - y) / ctx.temperature, None


def uniform_like(logits: Tensor) -> Tensor:
    """Uniform noise in [0, 1), of the shape and type of ``logits``; other noise in each process.

    mmengine seeds all processes alike unless told otherwise. Where there are several, each call
    draws a seed from torch's generator, as any noise is drawn, and the process adds its rank.
    """
    several = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
    if not several or logits.device.type == "meta":
        return torch.rand_like(logits)
    seed = int(torch.randint(2**62, (), dtype=torch.int64, device="cpu")) + dist.get_rank()
    generator = torch.Generator(logits.device).manual_seed(seed)
    return torch.rand(logits.shape, generator=generator, dtype=logits.dtype, device=logits.device)


def logistic_noise_like(logits: Tensor) -> Tensor:
    """Finite standard logistic noise, of the shape and type of ``logits``."""
    eps = torch.finfo(logits.dtype).eps
    uniform = uniform_like(logits).clamp_(eps, 1 - eps)
    return uniform.log().sub_(torch.log1p(-uniform))


def sample_binary_concrete(
    logits: Tensor,
    *,
    temperature: Tensor | float = 2 / 3,
    noise_scale: Tensor | float = 1.0,
) -> Tensor:
    """Sample 0/1 gates with a straight-through gradient.

    y = sigmoid((logits + noise_scale * noise) / temperature), noise ~ Logistic(0, 1); the value is
    1[y > 0.5], the gradient is that of y. Since y > 0.5 exactly when logits + noise_scale * noise
    > 0, a gate is open with probability sigmoid(logits / noise_scale), whatever the temperature.

    Args:
        logits: Gate logits of any shape, float32 or float64.
        temperature: Temperature of the relaxation, > 0, a scalar; it only shapes the gradient.
        noise_scale: Factor of the noise, >= 0, a scalar. 1 is the paper's; at 0 the gates are
            those of evaluation, ``1[logits > 0]``. It changes nothing about which random numbers
            are drawn.

    Returns:
        Gates, exactly 0 or 1, of the shape and type of ``logits``.

    Example:
        >>> import torch
        >>> from mmbas.gates import sample_binary_concrete
        >>> logits = torch.tensor([[-2.2, 0.0, 2.2]]).expand(10000, 3)
        >>> sample_binary_concrete(logits).mean(dim=0).round(decimals=1)  # near sigmoid(logits)
        tensor([0.1000, 0.5000, 0.9000])
        >>> sample_binary_concrete(logits, noise_scale=0)[0]
        tensor([0., 0., 1.])

    Source:
        Bejnordi et al., ICLR 2020, section 4.1.
    """
    perturbed_logits = logits + logistic_noise_like(logits).mul_(noise_scale)
    gates: Tensor = _StraightThroughStep.apply(perturbed_logits, temperature)
    return gates


def hard_step(logits: Tensor) -> Tensor:
    """``1[logits > 0]`` with the gradient of ``sigmoid(logits)``; no noise."""
    gates: Tensor = _StraightThroughStep.apply(logits, 1.0)
    return gates
