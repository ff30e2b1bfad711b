"""Figure 4: which images are drawn, and that they are the right ones."""

import matplotlib.image
import numpy as np
import pytest
import torch

from mmbas.analysis import draw_extremes, extremes


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
