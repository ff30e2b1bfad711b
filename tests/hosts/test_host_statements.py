"""The runner of the hosts' statements counts and names what fails."""

import pytest

pytest.importorskip("torchvision")

from hosts.host_statements import run_statements

SOURCE = """
import pytest
from a_host_of_nobody import ResNet, Bottleneck

def count(modules):
    return len(list(modules))

def test_something_else():
    assert False

def test_resnet():
    with pytest.raises(AssertionError):
        ResNet(50, num_stages=0)
    model = ResNet(18)
    assert model.norm1.training
    assert count(model.layer1) == 2
    assert model.stem is None
    for block in model.layer1:
        assert not isinstance(block, Bottleneck)

def test_resnet_v1d():
    model = ResNetV1d(18)
    assert count(model.stem) == 9
"""


@pytest.mark.parametrize("gate", [None, dict(type="mmbas.ChannelGate")])
def test_statements_that_fail_are_counted_and_named(gate):
    total, failures = run_statements(SOURCE, "mmpretrain", gate)
    assert total == 8
    assert [(each.function, each.code.strip()) for each in failures] == [
        ("test_resnet", "with pytest.raises(AssertionError):"),
        ("test_resnet", "assert model.stem is None"),
    ]
    assert failures[0].error.startswith("ValueError: expected num_stages from 1 to 4")


def test_a_host_returns_what_it_returns():
    source = "def test_resnet():\n    assert ResNet(18).out_indices == (0, 1, 2, 3)\n"
    assert run_statements(source, "mmseg") == (1, [])
    assert len(run_statements(source, "mmpretrain")[1]) == 1
