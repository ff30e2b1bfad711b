"""Average parameters over a data set, by a hand-worked example."""

import pytest

from mmbas.metrics import ConditionalParams
from mmbas.registry import METRICS


def test_average_parameters_by_hand():
    metric = ConditionalParams()
    metric.process(None, [dict(params=60.0, dense_params=100), dict(params=90.0, dense_params=100)])
    metric.process(None, [dict(params=30.0, dense_params=100)])
    assert metric.evaluate(size=3) == {
        "params/average": 60.0,
        "params/dense": 100.0,
        "params/fraction": 0.6,
    }


def test_built_from_config():
    assert METRICS.build(dict(type="mmbas.ConditionalParams")).prefix == "params"


def test_model_without_the_mixin_is_named():
    with pytest.raises(ValueError, match=r"'params' on each data sample.*GatedImageClassifier"):
        ConditionalParams().process(None, [dict(pred_label=1)])
