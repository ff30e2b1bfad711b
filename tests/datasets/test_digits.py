"""mmbas.Digits: sizes, split, values, and the contract of mmpretrain's datasets."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")

from mmengine.registry import DATASETS as ROOT_DATASETS

from mmbas.datasets.digits import Digits, load_digit_arrays, split_indices, upscale


def test_the_split_is_80_to_20_stratified_and_complete():
    _, labels = load_digit_arrays()
    train, test = split_indices(labels, "train"), split_indices(labels, "test")

    assert (len(train), len(test)) == (1438, 359)
    np.testing.assert_array_equal(np.sort(np.concatenate([train, test])), np.arange(1797))
    for digit in range(10):
        total, in_test = np.sum(labels == digit), np.sum(labels[test] == digit)
        assert abs(in_test - 0.2 * total) <= 0.5


def test_the_split_never_moves():
    _, labels = load_digit_arrays()
    test = split_indices(labels, "test")
    # Frozen: a network trained on one split must not be tested on another.
    assert test[:8].tolist() == [3, 7, 13, 19, 36, 38, 43, 48]
    assert int(test.sum()) == 311_827


def test_a_sample_follows_the_contract_of_the_host():
    dataset = Digits("test", test_mode=True)
    sample = dataset[3]

    assert len(dataset) == 359
    assert sample["img"].shape == (32, 32, 3)
    assert sample["img"].dtype == np.uint8
    assert isinstance(sample["gt_label"], int)
    assert dataset.metainfo["classes"] == tuple("0123456789")
    assert "Split: \ttest" in repr(dataset)


def test_images_use_the_whole_range_and_three_equal_channels():
    images, _ = load_digit_arrays()
    large = upscale(images[:100], 32)

    assert large.min() == 0
    assert large.max() == 255
    np.testing.assert_array_equal(large[..., 0], large[..., 1])
    np.testing.assert_array_equal(large[..., 0], large[..., 2])


def test_upscaling_by_an_even_factor_keeps_the_mean():
    # Each output pixel is a mix of its neighbours, so a constant stays and 16 becomes 255.
    np.testing.assert_array_equal(upscale(np.full((2, 8, 8), 16.0), 32), 255)
    images, _ = load_digit_arrays()
    grey = images[:50].mean() * 255 / 16
    assert abs(upscale(images[:50], 32).mean() - grey) < 2.0


def test_the_registry_builds_it_by_name_with_a_pipeline_of_the_host():
    dataset = ROOT_DATASETS.build(
        dict(
            type="mmbas.Digits",
            split="train",
            indices=5,
            pipeline=[dict(type="mmpretrain.PackInputs")],
        )
    )
    packed = dataset[0]

    assert len(dataset) == 5
    assert tuple(packed["inputs"].shape) == (3, 32, 32)
    assert packed["data_samples"].gt_label.item() == dataset.get_data_info(0)["gt_label"]


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="expected split to be one of .* got 'val'"):
        Digits("val")
    with pytest.raises(ValueError, match="expected image_size to be positive, got 0"):
        Digits(image_size=0)


def test_a_missing_scikit_learn_is_named_with_its_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"pip install scikit-learn"):
        Digits("train")


def test_the_package_imports_where_mmpretrain_is_missing():
    code = (
        "import importlib.util as u; find = u.find_spec;"
        "hidden = ('mmpretrain', 'mmseg');"  # mmseg imports mmpretrain where it can
        "u.find_spec = lambda name, *a: None if name in hidden else find(name, *a);"
        "import sys, mmbas.datasets as d;"
        "assert 'Digits' not in d.__all__ and 'mmpretrain' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
