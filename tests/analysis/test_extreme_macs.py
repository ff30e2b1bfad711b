"""Figure 4: which images are drawn, and that they are the right ones."""

import matplotlib.image
import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmbas.analysis import draw_extremes, extremes, is_bgr


def test_extremes_by_hand():
    assert extremes([0.5, 0.9, 0.2, 0.7], 2) == ([1, 3], [2, 0])


@pytest.mark.parametrize("k", [0, 5])
def test_bad_k(k):
    with pytest.raises(ValueError, match=f"expected k from 1 to 4 images, but got {k}"):
        extremes([0.5, 0.9, 0.2, 0.7], k)


def test_picture_shows_the_expensive_image_above_the_cheap_one(tmp_path):
    # image 0 is blue (BGR), image 1 is red and costs more
    blue, red = torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(3, 8, 8, dtype=torch.uint8)
    blue[0], red[2] = 255, 255
    path = tmp_path / "deep" / "macs.png"
    draw_extremes([dict(inputs=blue), dict(inputs=red)], [0.2, 0.8], k=1, path=path)
    picture = matplotlib.image.imread(path)[..., :3]
    is_red = (picture == [1, 0, 0]).all(axis=-1).nonzero()[0]
    is_blue = (picture == [0, 0, 1]).all(axis=-1).nonzero()[0]
    assert len(is_red) > 1000
    assert len(is_blue) > 1000
    assert np.max(is_red) < np.min(is_blue)


def test_without_bgr_the_first_channel_is_red(tmp_path):
    red = torch.zeros(3, 8, 8, dtype=torch.uint8)
    red[0] = 255
    draw_extremes([dict(inputs=red)], [0.5], k=1, path=tmp_path / "a.png", bgr=False)
    picture = matplotlib.image.imread(tmp_path / "a.png")[..., :3]
    assert (picture == [1, 0, 0]).all(axis=-1).sum() > 1000


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (dict(model={}, data_preprocessor=dict(to_rgb=True)), True),
        (dict(model={}, data_preprocessor=dict(to_rgb=False)), False),
        (dict(model=dict(data_preprocessor=dict(bgr_to_rgb=True))), True),
        # the model's own preprocessor is the one that is built
        (
            dict(
                model=dict(data_preprocessor=dict(to_rgb=False)),
                data_preprocessor=dict(to_rgb=True),
            ),
            False,
        ),
        (dict(model={}), False),
    ],
)
def test_preprocessor_tells_the_order_of_channels(config, expected):
    assert is_bgr(Config(config)) is expected
