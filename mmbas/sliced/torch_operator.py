"""The operator ``torch.ops.mmbas.sliced_backbone``, so that torch.compile and torch.export work.

Compiled and exported programs hold one call of it in place of the backbone. It runs the backbone as
without compilation: forced gates are forced and gates recorded. The backbone is named by a number,
so an exported program runs in the process of its model, and as long as that lives.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor


class Registered(Protocol):
    """Type of what the operator runs."""

    def run(self, x: Tensor) -> tuple[Tensor, ...]:
        """Feature maps of real images."""
        ...

    def empty_outputs(self, x: Tensor) -> list[Tensor]:
        """Tensors of the shapes of the feature maps, without computing these."""
        ...


_backbones: weakref.WeakValueDictionary[int, Registered] = weakref.WeakValueDictionary()
_numbers = itertools.count()
_library = torch.library.Library("mmbas", "DEF")
_library.define("sliced_backbone(Tensor images, int number) -> Tensor[]")


def register(backbone: Registered) -> int:
    """Give a backbone the number that the operator finds it by."""
    number = next(_numbers)
    _backbones[number] = backbone
    return number


def sliced_backbone(images: Tensor, number: int) -> list[Tensor]:
    """Call the operator."""
    outputs: list[Tensor] = torch.ops.mmbas.sliced_backbone(images, number)
    return outputs


def _find(number: int) -> Registered:
    backbone = _backbones.get(number)
    if backbone is None:
        raise RuntimeError(
            f"expected the accelerated backbone number {number}, but it is gone; keep the model "
            "that was compiled or exported, in the same process"
        )
    return backbone


def _run(images: Tensor, number: int) -> list[Tensor]:
    return list(_find(number).run(images))


def _fake(images: Tensor, number: int) -> list[Tensor]:
    return _find(number).empty_outputs(images)


def _register_fake() -> Callable[..., Any]:
    """The decorator for kernels of tensors without data; torch 2.1 to 2.3 name it otherwise."""
    name = "register_fake" if hasattr(torch.library, "register_fake") else "impl_abstract"
    decorator: Callable[..., Any] = getattr(torch.library, name)("mmbas::sliced_backbone")
    return decorator


_library.impl("sliced_backbone", _run, "CompositeExplicitAutograd")
_register_fake()(_fake)
