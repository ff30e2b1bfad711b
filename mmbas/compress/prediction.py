"""Steps from images to logits and labels in a host's test, as an exported file must hold them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# Of the largest logit; both come from the same operations, but for pools of another form.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Prediction:
    """Rule by which labels follow from logits.

    Attributes:
        rule: Rule in words, with the name ``logits``.
        labels: Function from logits to labels, bool, where that is more than an argmax; else None.
    """

    rule: str
    labels: Callable[[Tensor], Tensor] | None = None


ARGMAX = Prediction("argmax of logits")


def is_segmentor(model: Any) -> bool:
    """Tell whether a host's model labels pixels."""
    return hasattr(model, "decode_head")


def is_detector(model: Any) -> bool:
    """Tell whether a host's model finds objects: it has features and a head of no other kind."""
    return hasattr(model, "extract_feat") and not (is_segmentor(model) or hasattr(model, "head"))


def prediction_of(model: Any) -> Prediction:
    """Find the rule by which a host's model predicts.

    A segmentor with one channel compares its probability with a threshold, shape (N, H, W); a
    classifier of several labels does so for each class, or takes the k likeliest, shape
    (N, classes); any other takes the largest logit.

    Raises:
        ValueError: If the model is a detector, whose boxes follow from no fixed number of logits.
    """
    if is_detector(model):
        raise ValueError(
            f"expected a classifier or segmentor to export, but got {type(model).__name__}, which "
            "predicts boxes; reduce it with tools/reduce.py and export it as its host exports "
            "detectors"
        )
    if is_segmentor(model):
        if model.out_channels > 1:
            return ARGMAX
        threshold = model.decode_head.threshold
        return Prediction(
            f"sigmoid(logits) > {threshold:g}", lambda logits: logits.sigmoid()[:, 0] > threshold
        )
    head: Any = getattr(model, "head", None)
    if not hasattr(head, "thr"):
        return ARGMAX
    if head.thr is not None:
        return Prediction(
            f"sigmoid(logits) >= {head.thr:g} for each class",
            lambda logits: logits.sigmoid() >= head.thr,
        )
    return Prediction(
        f"the {head.topk} largest of the logits", lambda logits: _largest(logits, head.topk)
    )


def compute_logits(model: Any, inputs: Tensor) -> Tensor:
    """Logits of preprocessed images as in a test, those of a segmentor at the size of the images.

    A segmentor goes through its own test mode, so a sliding window (``test_cfg.mode='slide'``)
    slides.

    Args:
        model: Model in evaluation mode.
        inputs: Shape (N, 3, H, W).

    Returns:
        Shape (N, classes), or (N, classes, H, W).

    Raises:
        ValueError: If the model gives no logits, or has no test mode.
    """
    if not is_segmentor(model):
        logits = model(inputs, mode="tensor")
    elif not (getattr(model, "test_cfg", None) or {}).get("mode"):
        raise ValueError(
            "expected test_cfg with a mode in the config of the segmentor, 'whole' or 'slide', but "
            f"got {getattr(model, 'test_cfg', None)}"
        )
    else:
        size = (int(inputs.shape[2]), int(inputs.shape[3]))
        shapes = dict.fromkeys(("ori_shape", "img_shape", "pad_shape"), size)
        logits = model.inference(inputs, [{**shapes, "padding_size": [0] * 4}])
    if not isinstance(logits, Tensor):
        raise ValueError(
            f"expected a model whose logits are one tensor, but got {type(logits).__name__}; heads "
            "of several tasks cannot be exported"
        )
    return logits


@torch.no_grad()
def check_predictions(model: Any, inputs: Tensor, logits: Tensor) -> None:
    """Refuse logits from which other predictions follow than the model's own ``predict`` makes.

    Args:
        model: Model in evaluation mode.
        inputs: Preprocessed images, shape (N, 3, H, W).
        logits: Logits of :func:`compute_logits` for them.

    Raises:
        ValueError: If scores or labels differ.
    """
    prediction = prediction_of(model)
    labels = prediction.labels(logits) if prediction.labels else None
    scores = logits.softmax(dim=1) if labels is None else logits.sigmoid()
    for i, sample in enumerate(model.predict(inputs)):
        if is_segmentor(model):
            theirs = sample.seg_logits.data
            ours = logits[i] if labels is None else scores[i]
            same = labels is None or torch.equal(sample.pred_sem_seg.data[0] > 0, labels[i])
        else:
            theirs, ours = sample.pred_score, scores[i]
            chosen = logits[i].argmax().view(1) if labels is None else labels[i].nonzero()[:, 0]
            same = torch.equal(sample.pred_label.sort().values, chosen)
        apart = (theirs - ours).abs().max() if theirs.shape == ours.shape else torch.tensor(1.0)
        if not (same and apart <= TOLERANCE * ours.abs().max()):
            raise ValueError(
                f"expected predictions by {prediction.rule}, but {type(model).__name__} makes "
                "others in its test mode, which no file could repeat"
            )


def _largest(logits: Tensor, number: int) -> Tensor:
    """Mask of the classes with the ``number`` largest logits, shape (N, classes), bool."""
    indices = logits.topk(number, dim=1).indices
    classes = torch.arange(logits.shape[1], device=logits.device)
    return (indices[..., None] == classes).any(dim=1)
