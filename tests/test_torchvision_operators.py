"""torchvision's operators in mmcv's place compute what mmcv's are documented to compute."""

import importlib
import sys
from types import ModuleType
from unittest import mock

import numpy as np
import pytest
import torch

pytest.importorskip("torchvision")
pytest.importorskip("mmcv")

NAME = "mmcv._ext"
OPTIONS = dict(
    aligned_height=3,
    aligned_width=2,
    spatial_scale=0.5,
    sampling_ratio=2,
    pool_mode=1,
    aligned=True,
)


@pytest.fixture
def operators():
    """The module, as where mmcv has operators of its own: this process stays as it is."""
    with mock.patch.dict(sys.modules, {NAME: ModuleType(NAME)}):
        yield importlib.import_module("mmbas.torchvision_operators")


def boxes(n=400):
    random = np.random.RandomState(0)
    corner = random.uniform(0, 25, (n, 2))
    return np.concatenate([corner, corner + random.uniform(8, 25, (n, 2))], axis=1), random.rand(n)


def naive_nms(boxes, scores, threshold, offset):
    """Best box first, without those that overlap it too much; sizes are differences + offset."""
    left = list(np.argsort(-scores))
    kept = []
    while left:
        best = left.pop(0)
        kept.append(best)
        low = np.maximum(boxes[best, :2], boxes[left, :2])
        high = np.minimum(boxes[best, 2:], boxes[left, 2:])
        shared = np.prod(np.maximum(high - low + offset, 0), axis=1)
        area = np.prod(boxes[:, 2:] - boxes[:, :2] + offset, axis=1)
        overlap = shared / (area[best] + area[left] - shared)
        left = [i for i, o in zip(left, overlap, strict=True) if o <= threshold]
    return kept


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_nms_keeps_what_the_definition_keeps(operators, threshold, offset):
    corners, scores = boxes()
    kept = operators.nms(
        torch.from_numpy(corners), torch.from_numpy(scores), iou_threshold=threshold, offset=offset
    )
    assert kept.tolist() == naive_nms(corners, scores, threshold, offset)
    assert 5 < len(kept) < len(scores)


def rois():
    return torch.tensor([[0.0, 2.0, 2.0, 10.0, 14.0], [1.0, 0.0, 4.0, 12.0, 8.0]]).double()


def test_roi_align_averages_the_features_inside(operators):
    # Bilinear interpolation is exact for a linear function, so an average is its centre's value.
    row, column = torch.meshgrid(*[torch.arange(10).double()] * 2, indexing="ij")
    features = torch.stack([row + 2 * column, row * 0 + 1])[None].repeat(2, 1, 1, 1)
    output = torch.zeros(2, 2, 3, 2).double()
    operators.roi_align_forward(features, rois(), output, output, output, **OPTIONS)
    for i, (_, left, top, right, bottom) in enumerate(rois().tolist()):
        for h in range(3):
            for w in range(2):
                y = (top + (h + 0.5) * (bottom - top) / 3) * 0.5 - 0.5
                x = (left + (w + 0.5) * (right - left) / 2) * 0.5 - 0.5
                assert output[i, 0, h, w].item() == pytest.approx(y + 2 * x)
    assert torch.allclose(output[:, 1], torch.ones(2, 3, 2).double())


def test_the_gradient_of_roi_align_is_its_transpose(operators):
    torch.manual_seed(0)
    features, given = torch.randn(2, 3, 8, 8).double(), torch.randn(2, 3, 3, 2).double()
    output, gradient = torch.zeros_like(given), torch.zeros_like(features)
    none = torch.zeros(0)
    operators.roi_align_forward(features, rois(), output, none, none, **OPTIONS)
    operators.roi_align_backward(given, rois(), none, none, gradient, **OPTIONS)
    assert (given * output).sum().item() == pytest.approx((gradient * features).sum().item())
    assert gradient.abs().max() > 0


def test_what_torchvision_has_not_is_refused(operators):
    output = torch.zeros(2, 1, 3, 2)
    with pytest.raises(NotImplementedError, match="pool_mode='max', which torchvision has not"):
        operators.roi_align_forward(
            *(torch.zeros(2, 1, 8, 8), rois(), output, output, output),
            **{**OPTIONS, "pool_mode": 0},
        )


def test_an_mmcv_with_operators_stays_as_it_is(operators):
    own = sys.modules[NAME]
    assert operators.register() is False
    assert sys.modules[NAME] is own


def test_missing_operators_are_put_in_place(operators):
    with (
        mock.patch.dict(sys.modules),
        mock.patch.object(operators, "find_spec", return_value=None),
    ):
        del sys.modules[NAME]
        assert operators.register() is True
        extension = sys.modules[NAME]
        assert extension.nms is operators.nms
        assert hasattr(extension, "deform_conv_forward")  # mmcv asks for all of them at import
        with pytest.raises(NotImplementedError, match="compiled operators for deform_conv_forward"):
            extension.deform_conv_forward(1)
        assert isinstance(extension.get_compiler_version(), str)
        assert not hasattr(extension, "__path__")
        assert operators.register() is False
