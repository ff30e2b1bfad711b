"""Settings of gates and of losses follow curves that are functions of progress alone."""

import math

import pytest
from hooks.runner_case import GATE_LOSSES, GatedModel, run
from mmengine.hooks import Hook

from mmbas.gates import named_gates
from mmbas.hooks import Curve

WINDOW = dict(begin=1, end=2, start=5.0, stop=0.1, shape="exponential")


class Recorder(Hook):
    priority = "LOWEST"

    def __init__(self, read):
        self.read = read
        self.values = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.values.append(self.read(runner.model))


def temperatures(model):
    (value,) = {float(gate.temperature) for gate in named_gates(model).values()}
    return value


def hook(**arguments):
    return dict(
        type="mmbas.SettingScheduleHook",
        **{"setting": "temperature", "window": WINDOW, **arguments},
    )


def test_curves_are_their_formulas():
    values = dict(begin=2.0, end=6.0, start=1.0, stop=0.5)
    assert Curve(**values).value(3) == pytest.approx(0.875)
    assert Curve(**values, shape="exponential").value(4) == pytest.approx(math.sqrt(0.5))
    cosine = Curve(begin=0, end=33, start=1.0, stop=0.0, shape="cosine")
    for epoch in (0, 10, 33, 50):  # the tightness of LAUDNet over a third of 100 epochs
        expected = math.cos(math.pi / 2 * min(epoch / 33, 1)) ** 2
        assert cosine.value(epoch) == pytest.approx(expected, abs=1e-12)
    tight = Curve(begin=0, end=300, start=1.0, stop=math.exp(-6), shape="exponential")
    assert tight.value(50) == pytest.approx(math.exp(-0.02 * 50))  # that of DGNet
    steps = Curve(**values, shape="steps", num_steps=5)
    assert [round(steps.value(t), 3) for t in (0, 2.7, 2.9, 6)] == [1.0, 1.0, 0.9, 0.5]
    at_once = Curve(begin=2, end=2, start=1.0, stop=0.5)
    assert [at_once.value(t) for t in (1.9, 2)] == [1.0, 0.5]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(begin=3, end=2), "0 <= begin <= end"),
        (dict(shape="cubic"), "expected shape to be one of"),
        (dict(shape="exponential", stop=0.0), "between positive values"),
        (dict(shape="steps", num_steps=0), "num_steps >= 1"),
    ],
)
def test_a_curve_refuses_what_is_none(arguments, message):
    with pytest.raises(ValueError, match=message):
        Curve(**{**dict(begin=0, end=2, start=1.0, stop=0.5), **arguments})


def test_a_setting_of_all_gates_follows_the_epochs_to_the_iteration(tmp_path):
    recorder = Recorder(temperatures)
    runner = run(tmp_path, [hook(), recorder])
    curve = Curve(**WINDOW)
    expected = [curve.value(i / 4) for i in range(12)]  # four iterations an epoch
    assert recorder.values == pytest.approx(expected)
    logged, _ = runner.message_hub.get_scalar("train/gates/temperature").data
    assert logged.tolist() == pytest.approx(expected)


def test_a_setting_of_a_loss(tmp_path):
    losses = dict(bounds=dict(type="mmbas.DensityBoundsLoss", target=0.5))
    recorder = Recorder(lambda model: model.gate_losses["bounds"].tightness)
    window = dict(begin=0, end=4, start=1.0, stop=0.0)
    run(
        tmp_path,
        [hook(setting="tightness", window=window, loss="bounds", by_epoch=False), recorder],
        model=GatedModel(gate_losses=losses),
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=4),
    )
    assert recorder.values == [1.0, 0.75, 0.5, 0.25]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(setting="density"), r"a setting of the gates, \['noise_scale', 'temperature'\]"),
        (dict(setting="tightness", loss="l0"), "with the setting 'tightness'"),
        (dict(setting="factor", loss="none"), "expected a gate loss"),
        (dict(window=dict(begin=0)), "schedule window of 'temperature'"),
    ],
)
def test_what_it_cannot_set_is_said_before_training(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path, [hook(**arguments)], model=GatedModel(gate_losses=GATE_LOSSES))
