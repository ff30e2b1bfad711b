"""A gated classifier that also learns from a plain network's predictions.

G. Hinton, O. Vinyals, J. Dean: Distilling the Knowledge in a Neural Network, 2015,
https://arxiv.org/abs/1503.02531. Not part of the batch-shaping paper.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from mmengine.registry import MODELS as HOST_MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from mmbas.backbones.weight_init import (
    InitConfig,
    init_entries,
    loads_checkpoint,
    with_plain_names,
)
from mmbas.models.gated_classifier import GatedImageClassifier
from mmbas.registry import MODELS


def distillation_loss(
    logits: Tensor, teacher_logits: Tensor, *, temperature: float = 4.0
) -> Tensor:
    """``T^2 KL(softmax(teacher / T) || softmax(student / T))``, mean over images; a scalar >= 0.

    Args:
        logits: Logits of the student, shape (N, num_classes).
        teacher_logits: Same shape.
        temperature: T > 0. The factor T^2 keeps the size of the gradient.

    Raises:
        ValueError: If the shapes differ.
    """
    if logits.shape != teacher_logits.shape:
        raise ValueError(
            "expected a teacher with the classes of the student, but got logits of shape "
            f"{tuple(teacher_logits.shape)} for {tuple(logits.shape)}"
        )
    student = F.log_softmax(logits.float() / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits.float() / temperature, dim=1)
    divergence = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
    return temperature**2 * divergence


@MODELS.register_module()
class DistilledClassifier(GatedImageClassifier):
    """:class:`GatedImageClassifier` with ``loss_distill = weight * distillation_loss``.

    The teacher is no part of the model: not in its parameters, so no optimizer and no DDP sees it,
    nor in its state dict, so checkpoints are those of a ``GatedImageClassifier``. It computes in
    evaluation mode and without gradient, on the same augmented images.

    Args:
        teacher: Config of a classifier, with weights: ``dict(type='mmbas.GatedImageClassifier',
            backbone=dict(..., gate=None), ..., init_cfg=dict(type='Pretrained',
            checkpoint=...))``. They load in :meth:`init_weights`, which mmengine's runner calls.
            None trains without.
        distill_weight: >= 0.
        temperature: See :func:`distillation_loss`.

    Raises:
        ValueError: If an argument is out of range, or the teacher has no weights to load.
    """

    def __init__(
        self,
        *args: Any,
        teacher: dict[str, Any] | None,
        distill_weight: float = 1.0,
        temperature: float = 4.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if not 0 <= distill_weight < math.inf:
            raise ValueError(f"expected a finite distill_weight >= 0, but got {distill_weight}")
        if not 0 < temperature < math.inf:
            raise ValueError(f"expected a finite temperature > 0, but got {temperature}")
        if teacher is not None and not (
            teacher.get("pretrained") or _checkpoints(teacher.get("init_cfg"))
        ):
            raise ValueError(
                "expected a teacher with weights, but got none; add init_cfg=dict("
                "type='Pretrained', checkpoint=...) to it, or set teacher=None"
            )
        self.distill_weight = distill_weight
        self.temperature = temperature
        self._teacher = None if teacher is None else _Teacher(_build_teacher(teacher))

    @property
    def teacher(self) -> Any:
        """The frozen teacher, or None."""
        return None if self._teacher is None else self._teacher.model

    def init_weights(self) -> None:
        """Initialise the model, and load the teacher.

        Raises:
            ValueError: If a checkpoint to load is no file.
        """
        for model in (self, self.teacher):
            if model is not None:
                _check_checkpoint(model.init_cfg)
        super().init_weights()
        if self.teacher is not None:
            self.teacher.init_weights()

    def host_losses(self, inputs: Tensor, data_samples: Any, **kwargs: Any) -> dict[str, Any]:
        """The losses of the head, and the distillation loss."""
        if self._teacher is None:
            return super().host_losses(inputs, data_samples, **kwargs)
        features = self.extract_feat(inputs)
        losses: dict[str, Any] = dict(self.head.loss(features, data_samples, **kwargs))
        if "loss" in losses:
            losses["loss_task"] = losses.pop("loss")
        distance = distillation_loss(
            self.head(features), self._teacher.logits(inputs), temperature=self.temperature
        )
        losses["loss_distill"] = self.distill_weight * distance
        return losses


def _build_teacher(teacher: dict[str, Any]) -> Any:
    """The teacher, which loads its weights last, in whatever form its ``init_cfg`` is written."""
    model: Any = HOST_MODELS.build(teacher)
    model.init_cfg = with_plain_names(model.init_cfg)
    return model


class _Teacher:
    """Holds a network so that no module registers it, and copies of the owner share it."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model.eval().requires_grad_(False)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Teacher:
        return self

    @torch.no_grad()
    def logits(self, inputs: Tensor) -> Tensor:
        """Class scores of ``inputs``, shape (N, num_classes)."""
        # Nobody else moves it to the device. eval() again: init_weights may have been called.
        logits: Tensor = self.model.to(inputs.device).eval()(inputs, mode="tensor")
        return logits


def _checkpoints(init_cfg: InitConfig) -> list[str]:
    """Paths and URLs of the checkpoints that an ``init_cfg`` loads."""
    return [str(entry["checkpoint"]) for entry in init_entries(init_cfg) if loads_checkpoint(entry)]


def _check_checkpoint(init_cfg: InitConfig) -> None:
    """Refuse a local checkpoint that is not there, which mmengine finds after a long start."""
    for path in _checkpoints(init_cfg):
        if "://" not in path and not Path(path).is_file():
            raise ValueError(
                f"expected the plain network's checkpoint at {path}, but there is no such file; "
                "train it first, or name another one with --cfg-options "
                "model.init_cfg.checkpoint=FILE model.teacher.init_cfg.checkpoint=FILE"
            )
