"""Metrics over a data set, by hand-worked examples."""

import json

import numpy as np
import pytest
import torch

from mmbas.metrics import ConditionalMACs, GateStatistics, gate_shares


def samples(*images):
    return [
        dict(macs=float(m), dense_macs=d, open_fraction=sum(g) / len(g), gates=torch.tensor(g) > 0)
        for m, d, g in images
    ]


def test_conditional_macs_by_hand():
    metric = ConditionalMACs()
    # two batches, images of two sizes: (60 + 90 + 30) / 3 = 60 of (100 + 100 + 40) / 3 = 80
    metric.process(None, samples((60, 100, [1, 0]), (90, 100, [1, 1])))
    metric.process(None, samples((30, 40, [1, 0])))
    assert metric.evaluate(size=3) == {
        "macs/average": 60.0,
        "macs/dense": 80.0,
        "macs/fraction": 0.75,
        "macs/open_fraction": pytest.approx(2 / 3),
    }


def test_table_of_images(tmp_path):
    path = tmp_path / "deep" / "macs.json"
    metric = ConditionalMACs(out_file=str(path))
    rows = samples((60, 100, [1, 0]), (30, 40, [1, 1]))
    rows[0]["img_path"] = "a.png"
    metric.process(None, rows)
    metric.evaluate(size=2)
    first = dict(img_path="a.png", macs=60.0, dense_macs=100, open_fraction=0.5, fraction=0.6)
    second = dict(img_path=None, macs=30.0, dense_macs=40, open_fraction=1.0, fraction=0.75)
    assert json.loads(path.read_text()) == [first, second]


def test_gate_statistics_by_hand():
    metric = GateStatistics()
    # 200 images, 10 gates: gate 0 always open, gate 1 never, gate 2 in 1 image (0.5 %: always
    # off), gate 3 in 2 images (1 %: conditional), gate 4 closed in 2 (99 %: conditional), gate 5
    # closed in 1 (99.5 %: always on), the others in every other image.
    gates = np.zeros((200, 10), dtype=bool)
    gates[:, 0] = True
    gates[:1, 2] = True
    gates[:2, 3] = True
    gates[2:, 4] = True
    gates[1:, 5] = True
    gates[::2, 6:] = True
    for row in gates:
        metric.process(None, [dict(gates=torch.from_numpy(row))])
    assert metric.evaluate(size=200) == {
        "gates/always_on": 0.2,
        "gates/conditional": 0.6,
        "gates/always_off": 0.2,
    }


def test_shares_sum_to_one():
    shares = gate_shares(np.random.default_rng(0).random(1000))
    assert sum(shares.values()) == pytest.approx(1)


def test_plain_network_has_no_gate_statistics():
    metric = GateStatistics()
    metric.process(None, [dict(gates=torch.zeros(0, dtype=torch.bool))])
    assert metric.evaluate(size=1) == {}


@pytest.mark.parametrize("metric", [ConditionalMACs(), GateStatistics()])
def test_model_without_the_mixin_is_named(metric):
    with pytest.raises(ValueError, match=r"on each data sample.*mmbas\.GatedImageClassifier"):
        metric.process(None, [dict(pred_label=1)])
