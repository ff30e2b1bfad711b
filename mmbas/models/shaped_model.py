"""Shaping of named features in training, for any registered mmengine model, by config alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from types import new_class
from typing import TYPE_CHECKING, Any

from torch import nn

from mmbas.losses import ShapingLoss
from mmbas.models.gated_model import gated_class, host_class
from mmbas.registry import MODELS

if TYPE_CHECKING:
    from mmengine.model import BaseModel as _Host
else:
    _Host = object


class ShapingLosses(_Host):
    """The shaping losses of a model, which :class:`ShapingMixin` adds to its host."""

    def __init__(
        self,
        *args: Any,
        shaping_losses: dict[str, dict[str, Any] | None] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        losses = {}
        for name, cfg in (shaping_losses or {}).items():
            if cfg is None:
                continue
            loss = MODELS.build(cfg)
            if not isinstance(loss, ShapingLoss):
                raise TypeError(
                    f"expected shaping_losses.{name} to be a mmbas.ShapingLoss, but got "
                    f"{type(loss).__name__}"
                )
            losses[name] = loss.bind(self)
        self.shaping_losses = nn.ModuleDict(losses)

    def with_shaping_losses(
        self, host_losses: Callable[..., dict[str, Any]], *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """The host's losses and the shaping losses of one batch.

        Args:
            host_losses: Computes the host's losses.
            args: Arguments of the model's forward pass, which ``host_losses`` gets.
            kwargs: Its named arguments.
        """
        shaping: dict[str, Any] = dict(self.shaping_losses.items())
        with ExitStack() as stack:
            features = {
                name: stack.enter_context(loss.recording(self)) for name, loss in shaping.items()
            }
            losses = dict(host_losses(*args, **kwargs))
        if "loss" in losses and shaping:  # mmengine logs the total under this name
            losses["loss_task"] = losses.pop("loss")
        for name, loss in shaping.items():
            losses.update(loss.terms_of(features[name], name))
        return losses


class ShapingMixin(ShapingLosses):
    """Put before a host's model class: ``class ShapedX(ShapingMixin, X)``.

    The host needs ``loss(inputs, data_samples) -> dict``. Training adds ``loss_shaping_<name>`` for
    each shaping loss. Modules, weights and predictions are those of the host.

    Args:
        shaping_losses: Configs of :class:`ShapingLoss` by name; the names are those the schedule
            hook and overrides on the command line use. None drops an inherited entry.

    Raises:
        ValueError: If a pattern names no module of the model; with the nearest names.
        TypeError: If an entry is no ``ShapingLoss``.
    """

    def loss(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The host's losses and the shaping losses of one batch."""
        return self.with_shaping_losses(super().loss, *args, **kwargs)


@MODELS.register_module()
class ShapedModel:
    """Builds a host's model with :class:`ShapingMixin` before its class.

    A config of any project becomes one with shaping by two lines: the model's ``type`` becomes its
    ``host``, and ``shaping_losses`` is added. A host that computes everything in
    ``forward(..., mode=...)``, without a method ``loss``, is served too.

    Args:
        host: The model's own type, as for :class:`GatedModel`.
        arguments: ``shaping_losses``, see :class:`ShapingMixin`; with ``gate_losses`` the model is
            also what :class:`GatedModel` builds; all others are the host's own.

    Raises:
        ValueError: If there is no such model, or the package it is from cannot be imported.
        TypeError: If it is no model of mmengine.

    Example:
        >>> import torch
        >>> from mmengine.model import BaseModel
        >>> from mmbas.registry import MODELS
        >>> class Host(BaseModel):
        ...     def __init__(self, width):
        ...         super().__init__()
        ...         self.layer = torch.nn.Linear(3, width)
        ...
        ...     def forward(self, inputs):
        ...         return self.layer(inputs)
        ...
        ...     def loss(self, inputs):
        ...         return dict(loss_fit=self(inputs).square().mean())
        >>> shaping = dict(
        ...     type="mmbas.ShapingLoss", features=["layer"], prior=dict(type="mmbas.NormalPrior")
        ... )
        >>> model = MODELS.build(
        ...     dict(
        ...         type="mmbas.ShapedModel",
        ...         host=Host,
        ...         width=4,
        ...         shaping_losses=dict(normal=shaping),
        ...     )
        ... )
        >>> sorted(model.loss(torch.randn(8, 3)))
        ['loss_fit', 'loss_shaping_normal']
    """

    def __new__(cls, *, host: str | type, **arguments: Any) -> Any:
        """The model."""
        found = host_class(host)
        if "gate_losses" in arguments:
            found = gated_class(found)
        return _shaped_class(found)(**arguments)


@cache
def _shaped_class(host: type) -> type:
    """The class ``Shaped<Host>``; the host's own if it has shaping losses already."""
    if issubclass(host, ShapingLosses):
        return host
    mixin = ShapingMixin if callable(getattr(host, "loss", None)) else _ShapedForward
    content = dict(
        __module__=__name__, __doc__=f"{host.__name__} with shaping.", host_of_shaped=host
    )
    bases = (_Rebuilt, mixin, host)
    return new_class(f"Shaped{host.__name__}", bases, exec_body=lambda names: names.update(content))


class _Rebuilt:
    """Lets copies and pickles of a class that was made at run time make it again."""

    host_of_shaped: type

    def __reduce__(self) -> tuple[Any, ...]:
        return _empty, (self.host_of_shaped,), dict(self.__dict__)


def _empty(host: type) -> Any:
    """An object of a shaped class without attributes, which unpickling gives it."""
    shaped: Any = _shaped_class(host)
    return shaped.__new__(shaped)


class _ShapedForward(ShapingLosses):
    """The shaping losses of a host whose ``forward`` computes losses itself."""

    def forward(self, *args: Any, mode: str = "tensor", **kwargs: Any) -> Any:
        """The results of the host, with the shaping losses."""

        def of_host(*args: Any, **kwargs: Any) -> Any:
            return super(_ShapedForward, self).forward(*args, mode=mode, **kwargs)

        if mode == "loss":
            return self.with_shaping_losses(of_host, *args, **kwargs)
        return of_host(*args, **kwargs)
