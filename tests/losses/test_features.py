"""Features by name: patterns, near names, and recordings that leave nothing behind."""

import threading

import pytest
import torch
from torch import nn

from mmbas.losses import match_modules, record_features


def network():
    block = lambda: nn.ModuleDict(dict(conv1=nn.Conv2d(4, 4, 1), bn2=nn.BatchNorm2d(4)))  # noqa: E731
    down = nn.ModuleDict(dict(block=block()))
    return nn.ModuleDict(dict(layer1=nn.ModuleList([block(), block()]), layer2=down))


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["layer1.*.bn2"], ["layer1.0.bn2", "layer1.1.bn2"]),
        (["**.bn2"], ["layer1.0.bn2", "layer1.1.bn2", "layer2.block.bn2"]),
        (["layer2.**.bn?"], ["layer2.block.bn2"]),
        (["layer[12]"], ["layer1", "layer2"]),
        (["*.bn2", "layer2"], None),
        (["layer2.block.bn2", "layer1.0.conv1"], ["layer1.0.conv1", "layer2.block.bn2"]),
        (["layer1.0.conv1", "layer1.1.*"], ["layer1.0.conv1", "layer1.1.conv1", "layer1.1.bn2"]),
    ],
)
def test_patterns(patterns, expected):
    if expected is None:  # a star does not reach over a dot
        with pytest.raises(ValueError, match="names modules"):
            match_modules(network(), patterns)
    else:
        found = match_modules(network(), patterns)
        assert sorted(found) == sorted(expected)
        names = [name for name, _ in network().named_modules()]
        assert found == [name for name in names if name in found]


def test_a_pattern_without_a_match_names_the_nearest():
    with pytest.raises(ValueError, match=r"'layer1\.0\.bn3'.*\['layer1\.0\.bn2'"):
        match_modules(network(), ["layer1.0.bn3"])
    with pytest.raises(ValueError, match=r"layer2\.block\.bn2"):
        match_modules(network(), ["layer2.*.norm2"])


def keep(name, output):
    return output.clone()


def test_features_are_taken_before_they_are_overwritten():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True))
    images = torch.randn(5, 3)
    with record_features(model, ["0", "1"], keep) as features:
        model(images)
    torch.testing.assert_close(features["0"], model[0](images))
    assert features["0"].min() < 0
    torch.testing.assert_close(features["1"], model(images))


def test_further_calls_of_a_module_are_features_of_their_own():
    relu = nn.ReLU()
    model = nn.Sequential(nn.Linear(3, 4), relu, nn.Linear(4, 5), relu)
    with record_features(model, ["1"], keep) as features:
        model(torch.randn(2, 3))
    assert {name: tuple(f.shape) for name, f in features.items()} == {"1": (2, 4), "1#2": (2, 5)}


def test_nothing_is_left_on_the_modules_even_after_an_error():
    model = nn.Sequential(nn.Linear(3, 4))
    before = dict(model[0].__dict__)
    with pytest.raises(RuntimeError), record_features(model, ["0"], keep) as features:
        model(torch.randn(2, 5))  # not the shape of the first layer
    assert features == {}
    assert len(model[0]._forward_hooks) == 0
    assert model[0].__dict__.keys() == before.keys()
    model(torch.randn(2, 3))
    assert features == {}


def test_statements_nest():
    model = nn.Sequential(nn.Linear(3, 4))
    with record_features(model, ["0"], keep) as outer:
        with record_features(model, ["0"], lambda name, output: output.shape[0]) as inner:
            model(torch.randn(2, 3))
        model(torch.randn(5, 3))
    assert list(outer) == ["0", "0#2"]
    assert inner == {"0": 2}


def test_threads_do_not_see_each_other():
    model, results = nn.Sequential(nn.Linear(3, 4), nn.ReLU()), {}
    barrier = threading.Barrier(4)

    def work(number):
        images = torch.full((number, 3), float(number))
        for _ in range(30):
            barrier.wait()
            with record_features(model, ["0"], keep) as features:
                model(images)
            assert list(features) == ["0"]
            torch.testing.assert_close(features["0"], model[0](images))
        results[number] = True

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(results) == [1, 2, 3, 4]
    assert len(model[0]._forward_hooks) == 0


def test_a_module_that_returns_no_tensor_is_named():
    model = nn.Sequential(nn.LSTM(3, 4))
    expected = pytest.raises(TypeError, match="module 0 to return one tensor, but got tuple")
    with expected, record_features(model, ["0"], keep):
        model(torch.randn(2, 1, 3))
