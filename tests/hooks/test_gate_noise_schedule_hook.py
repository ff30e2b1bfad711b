"""The gate noise falls during training, and training ends with the gates of evaluation."""

import pytest
import torch
from hooks.runner_case import GATE_LOSSES, GatedModel, PlainModel, run
from mmengine.hooks import Hook
from torch import nn

from mmbas.gates import ChannelGate, Gate, named_gates, record_gate_outputs
from mmbas.hooks import GateNoiseScheduleHook

WINDOW = dict(begin=1, end=2, start_factor=1.0, end_factor=0.0)


class Recorder(Hook):
    priority = "LOWEST"

    def __init__(self):
        self.scales = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        scales = {gate.noise_scale.item() for gate in named_gates(runner.model).values()}
        self.scales.append(scales.pop() if len(scales) == 1 else scales)


def noise(**arguments):
    return dict(type="mmbas.GateNoiseScheduleHook", **{"window": WINDOW, **arguments})


def test_all_gates_follow_the_epochs_to_the_iteration(tmp_path):
    recorder = Recorder()
    run(tmp_path, [noise(), recorder])
    # four iterations an epoch
    assert recorder.scales == [*[1.0] * 5, 0.75, 0.5, 0.25, *[0.0] * 4]


def test_the_scale_follows_iterations_and_is_logged(tmp_path):
    recorder = Recorder()
    runner = run(
        tmp_path,
        [noise(by_epoch=False, window={**WINDOW, "begin": 0}), recorder],
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=4),
    )
    assert recorder.scales == [1.0, 0.5, 0.0, 0.0]
    logged, _ = runner.message_hub.get_scalar("train/gates/noise_scale").data
    assert logged.tolist() == recorder.scales


def test_training_ends_with_the_gates_of_evaluation(tmp_path):
    model = run(tmp_path, [noise()], model=GatedModel(gate_losses=GATE_LOSSES)).model.train()
    images = torch.randn(4, 3, 8, 8)
    with record_gate_outputs(model) as records:
        model.backbone(images)
    for (output,) in records.values():
        assert torch.equal(output.gates, (output.logits > 0).float())


def test_checkpoints_do_not_hold_the_scale():
    gate = ChannelGate(4, 8)
    assert not [key for key in gate.state_dict() if "noise" in key]


def test_a_gate_without_noise_ignores_the_scale_and_is_no_obstacle():
    class Even(Gate):
        def compute_logits(self, x):
            return x.new_ones(len(x), self.num_gates)

        def sample(self, logits):
            return (logits > 0).float()

    even = Even(2)
    even.noise_scale.fill_(0.5)
    assert torch.equal(even(torch.zeros(3, 1, 1, 1)).gates, torch.ones(3, 2))


def test_new_scales_do_not_compile_the_network_again():
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    gate = ChannelGate(4, 8)
    sample = torch.compile(gate.sample, backend=backend)
    for scale in (1.0, 0.7, 0.3, 0.0):
        gate.noise_scale.fill_(scale)
        gates = sample(torch.ones(2, 8))
    assert len(graphs) == 1
    assert torch.equal(gates, torch.ones(2, 8))


def test_gates_inside_a_wrapper_are_found(tmp_path):
    """As with several processes, whose model is wrapped."""

    class Runner:
        model = nn.Sequential(GatedModel(gate_losses=GATE_LOSSES))
        iter, train_dataloader = 6, range(4)

        class message_hub:  # noqa: N801
            update_scalar = staticmethod(lambda name, value: None)

    GateNoiseScheduleHook(WINDOW).before_train_iter(Runner, 2)
    assert {gate.noise_scale.item() for gate in named_gates(Runner.model).values()} == {0.5}


def test_misfits_are_refused_before_training(tmp_path):
    with pytest.raises(ValueError, match="expected a model with gates for GateNoiseScheduleHook"):
        run(tmp_path, [noise()], model=PlainModel(gate=False))
    with pytest.raises(ValueError, match="the windows of GateNoiseScheduleHook in iterations"):
        run(tmp_path, [noise()], train_cfg=dict(type="IterBasedTrainLoop", max_iters=4))
    with pytest.raises(ValueError, match="schedule window of the gate noise: expected a window"):
        GateNoiseScheduleHook(dict(begin=2, end=1, start_factor=1, end_factor=0))


def test_window_after_the_end_warns(tmp_path):
    run(tmp_path, [noise(window={**WINDOW, "begin": 5, "end": 6})])
    log = next(tmp_path.glob("*/*.log")).read_text()
    assert "window of the gate noise begins at 5, after the last of 3 epochs" in log
