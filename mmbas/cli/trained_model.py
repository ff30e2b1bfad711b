"""The one way in which tools load a trained network: all of its weights, or an error."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from mmbas.cli.command_line import build_model, checked_checkpoint, write_whole
from mmbas.gates import named_gates

# Parts that training alone computes with; a file may lack them, or hold others.
TRAINING_ONLY = ("auxiliary_head.", "gate_losses.", "shaping_losses.")
# A counter that evaluation does not read; files of old versions of torch lack it.
NOT_READ = "num_batches_tracked"
_MOST_NAMES = 3


def load_trained_model(config: Config, checkpoint: str) -> Any:
    """A config's model with the weights of a checkpoint, in evaluation mode, on the best device.

    Args:
        config: Config of the model, which gets its ``data_preprocessor``, as in the runner.
        checkpoint: A file, or an address that mmengine knows.

    Raises:
        ValueError: If the checkpoint cannot be read or does not fit; see :func:`load_weights`.
    """
    model = build_model(with_preprocessor(config))
    load_weights(model, checkpoint)
    return model.to(get_device())


def with_preprocessor(config: Config) -> Config:
    """A copy whose model has the config's ``data_preprocessor``, unless it has one of its own."""
    config = copy.deepcopy(config)
    if config.get("data_preprocessor"):
        config.model.setdefault("data_preprocessor", config.data_preprocessor)
    return config


def load_weights(model: nn.Module, path: str) -> None:
    """Load all weights that ``model`` tests with; mmengine would only log what does not fit.

    What may differ: the parts in ``TRAINING_ONLY`` (auxiliary heads and losses, which no test
    computes) may be missing, additional or of other sizes, and the counters of batches of
    normalisation layers may be missing.

    Args:
        model: Bare, or wrapped for several processes or for a test with augmentations.
        path: Path for :func:`read_checkpoint`.

    Raises:
        ValueError: If the file cannot be read, or any other key is missing, additional, or of
            another shape.
    """
    model = unwrapped(model)
    given = read_checkpoint(path)["state_dict"]
    own = model.state_dict()
    if not own.keys() & given.keys():
        raise ValueError(
            f"expected weights of {type(model).__name__} in {path}, such as "
            f"{next(iter(own), 'none')}, but got {_some(given)}; save its state_dict() as "
            "dict(state_dict=...)"
        )
    _check_has_gates(model, given, path)
    fitting = {
        key: value
        for key, value in given.items()
        if not key.startswith(TRAINING_ONLY) or (key in own and own[key].shape == value.shape)
    }
    # Old names are translated by the modules while they load, so what misses is known after it.
    try:
        missing, additional = model.load_state_dict(fitting, strict=False)
    except RuntimeError as error:
        different = [key for key in own if key in fitting and own[key].shape != fitting[key].shape]
        if not different:
            raise
        key = different[0]
        raise ValueError(
            f"expected a checkpoint of the config's model, but {len(different)} tensors of {path} "
            f"have another shape, e.g. {key}: expected {tuple(own[key].shape)}, got "
            f"{tuple(fitting[key].shape)}; use the config that it was trained with"
        ) from error
    missing = [
        key for key in missing if not key.startswith(TRAINING_ONLY) and not key.endswith(NOT_READ)
    ]
    faults = [f"lacks {_some(missing)}"] if missing else []
    faults += [f"also has {_some(additional)}"] if additional else []
    if faults:
        raise ValueError(
            f"expected a checkpoint of the config's model, but {path} {' and '.join(faults)}; use "
            "the config that it was trained with"
        )


def unwrapped(model: Any) -> Any:
    """The model inside the wrappers for several processes and for a test with augmentations."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model


def read_checkpoint(path: str) -> dict[str, Any]:
    """A checkpoint as ``dict(meta=..., state_dict=...)``, on the CPU.

    Takes what mmengine takes: a dict with ``state_dict``, or the weights themselves, with or
    without the prefix ``module.`` of a wrapper for several processes.

    Raises:
        ValueError: If it cannot be read, or holds anything else; with what it holds.
    """
    checked_checkpoint(path)
    try:
        content = CheckpointLoader.load_checkpoint(path, map_location="cpu", logger="silent")
    except (pickle.UnpicklingError, EOFError, RuntimeError, AttributeError, ImportError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"expected a checkpoint at {path}, but torch.load says: {reason}"
        ) from error
    if not isinstance(content, Mapping):
        raise ValueError(
            f"expected a checkpoint at {path}, a dict with the key state_dict, but got "
            f"{type(content).__name__}; save the model's state_dict() as dict(state_dict=...)"
        )
    weights = content.get("state_dict", content)
    if not isinstance(weights, Mapping) or not any(isinstance(w, Tensor) for w in weights.values()):
        raise ValueError(
            f"expected the weights in {path} under the key state_dict, but the file has "
            f"{_some(map(str, content))}; save the weights anew as dict(state_dict=...)"
        )
    meta = content.get("meta") if "state_dict" in content else None
    weights = {str(key).removeprefix("module."): value for key, value in weights.items()}
    return {"meta": dict(meta or {}), "state_dict": weights}


def save_checkpoint(path: str | Path, *, meta: Mapping[str, Any], state_dict: Any) -> None:
    """Write a checkpoint, whole or not at all; makes its folder where it is missing.

    Raises:
        OSError: If it cannot be written; torch's own writer would not say why.
    """
    data = io.BytesIO()
    torch.save({"meta": dict(meta), "state_dict": state_dict}, data)
    write_whole(path, data.getbuffer())


def _check_has_gates(model: nn.Module, given: Mapping[str, Tensor], path: str) -> None:
    """Refuse a checkpoint without the gates of ``model``: its gates would decide at random."""
    gates = [
        f"{name}.{key}" for name, gate in named_gates(model).items() for key in gate.state_dict()
    ]
    if gates and not any(key in given for key in gates):
        raise ValueError(
            f"expected a checkpoint with trained gates, but {path} has none of their {len(gates)} "
            f"tensors, e.g. {gates[0]}; it has {_some(given)}; use the config that it was trained "
            "with"
        )


def _some(keys: Iterable[str]) -> str:
    """The first names of several, and how many more there are."""
    names = list(keys)
    shown = ", ".join(names[:_MOST_NAMES]) or "nothing"
    return shown if len(names) <= _MOST_NAMES else f"{shown} and {len(names) - _MOST_NAMES} more"
