"""Any registered mmengine model with gate losses, by config alone."""

from __future__ import annotations

import inspect
import logging
import sys
from functools import cache
from importlib.util import find_spec
from types import new_class
from typing import Any

from mmengine.logging import print_log
from mmengine.model import BaseModel

from mmbas.models.gate_loss_mixin import GateLosses, GateLossMixin
from mmbas.registry import MODELS

OPERATORS = "mmbas.torchvision_operators"


@MODELS.register_module()
class GatedModel:
    """Builds a host's model with :class:`GateLossMixin` before its class.

    ``dict(type='mmbas.GatedModel', host='mmdet.FasterRCNN', gate_losses=..., ...)`` is what
    ``class GatedFasterRCNN(GateLossMixin, FasterRCNN)`` would be. The result is an object of such a
    class, with the weights, methods and state dict of the host's. A host that computes everything
    in ``forward(..., mode=...)``, without methods ``loss`` and ``predict``, is served too; the
    costs of its images are reported if its predictions are data samples.

    Args:
        host: Name of a registered model, with its scope, or of the default scope, or the class
            itself. Its package is imported only here.
        arguments: ``gate_losses`` and ``report_costs``, see :class:`GateLossMixin`; all others are
            the host's own.

    Raises:
        ValueError: If there is no such model, or the package it is from cannot be imported.
        TypeError: If it is no model of mmengine.

    Example:
        >>> from mmengine.model import BaseModel
        >>> from mmbas.backbones import GatedResNetCifar
        >>> from mmbas.registry import MODELS
        >>> class Host(BaseModel):
        ...     def __init__(self, depth):
        ...         super().__init__()
        ...         self.backbone = GatedResNetCifar(depth)
        ...
        ...     def forward(self, images, mode="tensor"):
        ...         features = self.backbone(images)[0]
        ...         return dict(loss=features.square().mean()) if mode == "loss" else features
        >>> losses = dict(bas=dict(type="mmbas.BatchShapingLoss"))
        >>> model = MODELS.build(
        ...     dict(type="mmbas.GatedModel", host=Host, depth=8, gate_losses=losses)
        ... )
        >>> type(model).__name__
        'GatedHost'
    """

    def __new__(cls, *, host: str | type, **arguments: Any) -> Any:
        """The model."""
        return gated_class(host_class(host))(**arguments)


def host_class(host: str | type) -> type:
    """The class of a host's model.

    Args:
        host: Name as in :class:`GatedModel`, or the class.

    Raises:
        ValueError: If no class of that name can be found, with the reason.
        TypeError: If it is no model of mmengine.
    """
    found = _registered(host) if isinstance(host, str) else host
    if getattr(found, "__module__", "").startswith("mmdet.") and not _has_operators():
        print_log(
            f"mmcv has no compiled operators, which {host} may need; for torchvision's add "
            f"custom_imports=dict(imports=[{OPERATORS!r}]) to the config",
            logger="current",
            level=logging.WARNING,
        )
    if not (inspect.isclass(found) and issubclass(found, BaseModel)):
        raise TypeError(
            f"expected host to be a model of mmengine, such as 'mmdet.FasterRCNN', but got {host!r}"
        )
    return found


def _has_operators() -> bool:
    """Tell whether mmcv has operators, its own or those of ``OPERATORS``."""
    return "mmcv._ext" in sys.modules or find_spec("mmcv._ext") is not None


def _registered(host: str) -> Any:
    try:
        # As where mmengine builds: a name without a scope is one of the default scope.
        with MODELS.switch_scope_and_registry(None) as registry:
            found = registry.get(host)
    except (RuntimeError, ImportError) as error:
        raise ValueError(_not_found(host, getattr(error, "name", None))) from error
    if found is None:
        raise ValueError(_not_found(host, None))
    return found


def _not_found(host: str, module: str | None) -> str:
    """Text of the error for a name that no registry knows, or whose package lacks a module."""
    expected = f"expected the name of a registered model as host, but got {host!r}"
    package, dot, _ = host.partition(".")
    if dot and find_spec(package) is None:
        return f"{expected}, and {package} is not installed; install it, or name another model"
    if module == "mmcv._ext":
        return (
            f"{expected}, whose package needs operators that this mmcv has not compiled; install "
            f"an mmcv that has, or add custom_imports=dict(imports=[{OPERATORS!r}]) to the config"
        )
    if module is not None:
        return f"{expected}, whose package needs {module}, which is not installed"
    return f"{expected}; write it with the scope of its package, such as 'mmdet.FasterRCNN'"


@cache
def gated_class(host: type) -> type:
    """The class ``Gated<Host>``; the host's own if it has gate losses already."""
    if issubclass(host, GateLosses):
        return host
    methods = callable(getattr(host, "loss", None)) and callable(getattr(host, "predict", None))
    bases = (_Rebuilt, GateLossMixin if methods else _GatedForward, host)
    content = dict(
        __module__=__name__, __doc__=f"{host.__name__} with gate losses.", class_of_host=host
    )
    return new_class(f"Gated{host.__name__}", bases, exec_body=lambda names: names.update(content))


class _Rebuilt:
    """Lets copies and pickles of a class that was made at run time make it again."""

    class_of_host: type

    def __reduce__(self) -> tuple[Any, ...]:
        return _empty, (self.class_of_host,), dict(self.__dict__)


def _empty(host: type) -> Any:
    """An object of a gated class without attributes, which unpickling gives it."""
    gated: Any = gated_class(host)
    return gated.__new__(gated)


class _GatedForward(GateLosses):
    """The gate losses of a host whose ``forward`` computes losses and predictions itself."""

    def forward(self, *args: Any, mode: str = "tensor", **kwargs: Any) -> Any:
        """The results of the host, with the gate losses or the costs of each image."""

        def of_host(*args: Any, **kwargs: Any) -> Any:
            return super(_GatedForward, self).forward(*args, mode=mode, **kwargs)

        if mode == "loss":
            return self.with_gate_losses(of_host, *args, **kwargs)
        if mode == "predict":
            return self.with_costs(of_host, *args, **kwargs)
        return of_host(*args, **kwargs)
