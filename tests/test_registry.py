"""Names of types, which configs write as strings or hold as classes."""

import pytest
from mmengine.config import ConfigDict
from torch import nn

from mmbas.registry import type_name


def some_function():
    """A collate function, for example."""


@pytest.mark.parametrize(
    ("component", "name"),
    [
        (dict(type="mmbas.ConditionalMACs"), "ConditionalMACs"),
        (ConfigDict(type="ConditionalMACs"), "ConditionalMACs"),
        (dict(type="mmbas.metrics.conditional_macs.ConditionalMACs"), "ConditionalMACs"),
        (dict(type=nn.SyncBatchNorm), "SyncBatchNorm"),
        (ConfigDict(type=nn.SyncBatchNorm), "SyncBatchNorm"),
        (dict(type=some_function), "some_function"),
        (nn.ReLU, "ReLU"),
        (nn.ReLU(), "ReLU"),
        ("mmbas.HeldOut", "HeldOut"),
        (dict(), ""),
        (None, ""),
    ],
)
def test_name_of_a_type(component, name):
    assert type_name(component) == name
