"""Digits as class folders: the pictures of ``Digits``, once each."""

import numpy as np
import pytest

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")

from PIL import Image

from mmbas.datasets.digit_folders import write_digit_folders
from mmbas.datasets.digits import load_digit_arrays, split_indices


def test_every_digit_is_in_the_folder_of_its_split_and_class(tmp_path):
    paths = write_digit_folders(tmp_path)
    images, labels = load_digit_arrays()
    assert len(set(paths)) == len(images)
    for split in ("train", "test"):
        numbers = sorted(int(p.stem) for p in (tmp_path / split).rglob("*.png"))
        assert numbers == split_indices(labels, split).tolist()
    for path in paths[::50]:
        number = int(path.stem)
        assert path.parent.name == str(labels[number])
        assert np.abs(np.asarray(Image.open(path)) / (255 / 16) - images[number]).max() < 0.04


def test_fewer_images_are_spread_over_the_classes(tmp_path):
    write_digit_folders(tmp_path, num_train=23, num_test=10)
    counts = [len(list(folder.iterdir())) for folder in sorted((tmp_path / "train").iterdir())]
    assert len(counts) == 10
    assert sum(counts) == 23
    assert set(counts) == {2, 3}
    assert len(list((tmp_path / "test").iterdir())) == 10


def test_a_folder_with_pictures_and_no_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected at least one image, but got 0"):
        write_digit_folders(tmp_path, num_train=0)
    write_digit_folders(tmp_path, num_train=1, num_test=1)
    with pytest.raises(ValueError, match="expected no pictures in"):
        write_digit_folders(tmp_path)
