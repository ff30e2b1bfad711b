"""Registries of scope ``mmbas``, children of mmengine's root registries.

mmengine imports ``<scope>.registry`` when it meets ``type='mmbas.X'`` in a config, so the names
below are usable in any OpenMMLab project without ``custom_imports``. The modules named in
``locations`` are imported at the first look-up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

try:
    from mmengine.registry import DATASETS as MMENGINE_DATASETS
    from mmengine.registry import FUNCTIONS as MMENGINE_FUNCTIONS
    from mmengine.registry import HOOKS as MMENGINE_HOOKS
    from mmengine.registry import METRICS as MMENGINE_METRICS
    from mmengine.registry import MODELS as MMENGINE_MODELS
    from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
    from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
    from mmengine.registry import Registry
except ImportError as error:
    raise ImportError(
        "mmbas needs mmengine, but it cannot be imported; install the maintained stack with "
        "`pip install '.[openmmlab]'` in mmbas's folder, or the original mmengine and mmcv"
    ) from error

MODELS = Registry(
    "model",
    parent=MMENGINE_MODELS,
    scope="mmbas",
    locations=["mmbas.gates", "mmbas.backbones", "mmbas.losses", "mmbas.models"],
)
HOOKS = Registry(
    "hook", parent=MMENGINE_HOOKS, scope="mmbas", locations=["mmbas.hooks", "mmbas.sliced"]
)
METRICS = Registry("metric", parent=MMENGINE_METRICS, scope="mmbas", locations=["mmbas.metrics"])
DATASETS = Registry(
    "dataset", parent=MMENGINE_DATASETS, scope="mmbas", locations=["mmbas.datasets"]
)
OPTIM_WRAPPERS = Registry(
    "optimizer wrapper",
    parent=MMENGINE_OPTIM_WRAPPERS,
    scope="mmbas",
    locations=["mmbas.optim"],
)
TRANSFORMS = Registry(
    "transform", parent=MMENGINE_TRANSFORMS, scope="mmbas", locations=["mmbas.datasets"]
)
FUNCTIONS = Registry(
    "function", parent=MMENGINE_FUNCTIONS, scope="mmbas", locations=["mmbas.datasets"]
)


def type_name(component: Any) -> str:
    """Name of the class that a component of a config is built from, without scope or module.

    Text configs name types by strings, Python-style configs (``read_base``) hold the classes, and
    both may hold what is built already.

    >>> type_name(dict(type="mmbas.ConditionalMACs"))
    'ConditionalMACs'
    >>> type_name(dict(type=Registry))
    'Registry'

    Args:
        component: A dict with ``type``, a type as a string, class or function, or an object.

    Returns:
        The name; empty for a dict without a type and for None.
    """
    kind = component.get("type") if isinstance(component, Mapping) else component
    if kind is None:
        return ""
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", type(kind).__name__)
    return name.rpartition(".")[2]
