"""The schedule hook inside a real Runner."""

import logging

import pytest
from hooks.runner_case import GATE_LOSSES, GatedModel, PlainModel, run
from mmengine.hooks import Hook

WINDOWS = dict(
    bas=dict(begin=0, end=2, start_factor=1.0, end_factor=0.0),
    l0=dict(begin=1, end=2, start_factor=0.0, end_factor=1.0),
)


class Recorder(Hook):
    priority = "LOWEST"

    def __init__(self):
        self.factors = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        losses = runner.model.gate_losses
        self.factors.append((losses["bas"].factor, losses["l0"].factor))


def schedule(**arguments):
    return dict(type="mmbas.GateLossScheduleHook", **{"windows": WINDOWS, **arguments})


def test_factors_follow_the_epochs_to_the_iteration(tmp_path):
    recorder = Recorder()
    run(tmp_path, [schedule(), recorder])
    # four iterations an epoch: progress 0, 1/4, 1/2, ... epochs
    assert recorder.factors == [
        (1.0, 0.0),
        (0.875, 0.0),
        (0.75, 0.0),
        (0.625, 0.0),
        (0.5, 0.0),
        (0.375, 0.25),
        (0.25, 0.5),
        (0.125, 0.75),
        *[(0.0, 1.0)] * 4,
    ]


def test_factors_follow_iterations(tmp_path):
    recorder = Recorder()
    run(
        tmp_path,
        [schedule(by_epoch=False), recorder],
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=4),
    )
    assert recorder.factors == [(1.0, 0.0), (0.5, 0.0), (0.0, 1.0), (0.0, 1.0)]


def test_unnamed_loss_keeps_factor_one(tmp_path):
    recorder = Recorder()
    run(tmp_path, [schedule(windows=dict(bas=WINDOWS["bas"])), recorder])
    assert {l0 for _, l0 in recorder.factors} == {1.0}


def test_factor_scales_the_loss(tmp_path):
    model = GatedModel(gate_losses=GATE_LOSSES)
    losses = []

    class LossRecorder(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            losses.append((outputs["loss_bas"].item(), outputs["loss_gate_l0"].item()))

    run(tmp_path, [schedule(), LossRecorder()], model=model)
    assert losses[0][0] > 0
    assert losses[0][1] == 0
    assert losses[-1][0] == 0
    assert losses[-1][1] > 0


def test_epoch_window_under_an_iteration_loop_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected by_epoch=False.*has no epochs"):
        run(tmp_path, [schedule()], train_cfg=dict(type="IterBasedTrainLoop", max_iters=4))


def test_unknown_loss_is_refused_before_training(tmp_path):
    windows = dict(sparsity=WINDOWS["l0"])
    with pytest.raises(ValueError, match=r"gate losses \['bas', 'l0'\], but got \['sparsity'\]"):
        run(tmp_path, [schedule(windows=windows)])


def test_the_plain_network_of_a_gated_config_trains_with_all_hooks(tmp_path):
    window = dict(begin=0, end=1, start_factor=1.0, end_factor=0.0)
    noise = dict(type="mmbas.GateNoiseScheduleHook", window=window)
    hooks = [schedule(), noise, dict(type="mmbas.GateMonitorHook", interval=1)]
    assert run(tmp_path, hooks, model=GatedModel(gate=False, gate_losses=None)).iter == 12
    log = next(tmp_path.glob("*/*.log")).read_text()
    for name in ("GateLossScheduleHook", "GateNoiseScheduleHook"):
        assert f"{name} does nothing: the model has no gates" in log


def test_model_without_gate_losses_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected a model with gate_losses"):
        run(tmp_path, [schedule()], model=PlainModel())


@pytest.mark.parametrize(
    "window", [dict(begin=2, end=1, start_factor=0, end_factor=1), dict(begin=0, finish=1)]
)
def test_bad_window_names_its_loss(window):
    from mmbas.hooks import GateLossScheduleHook

    with pytest.raises(ValueError, match="schedule window of gate loss 'l0'"):
        GateLossScheduleHook(dict(l0=window))


def test_window_after_the_end_warns(tmp_path, caplog):
    window = dict(begin=5, end=6, start_factor=0.0, end_factor=1.0)
    with caplog.at_level(logging.WARNING):
        runner = run(tmp_path, [schedule(windows=dict(l0=window))])
    log = next(tmp_path.glob("*/*.log")).read_text()
    assert "gate loss 'l0' begins at 5, after the last of 3 epochs: its factor stays 0.0" in log
    assert runner.iter == 12
