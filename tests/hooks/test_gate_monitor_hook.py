"""What the monitor shows: numbers by hand, keys, backends."""

import json

import pytest
import torch
from hooks.runner_case import GatedModel, PlainModel, run
from mmengine.hooks import Hook
from mmengine.visualization import Visualizer

from mmbas.gates import named_gates
from mmbas.hooks import GateMonitorHook


class SetGates(Hook):
    """Stage 1 always open, stage 2 always closed, stage 3 half of its gates each way."""

    def before_train(self, runner):
        for name, gate in named_gates(runner.model).items():
            torch.nn.init.zeros_(gate.fc2.weight)
            bias = torch.full((gate.num_gates,), 50.0)
            if "layer2" in name:
                bias *= -1
            if "layer3" in name:
                bias[::2] *= -1
            gate.fc2.bias.data = bias


def scalars(tmp_path):
    lines = next(tmp_path.glob("*/vis_data/scalars.json")).read_text().splitlines()
    return [json.loads(line) for line in lines]


def monitored(tmp_path, interval=2):
    visualizer = dict(
        type="Visualizer",
        vis_backends=[dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")],
    )
    return run(
        tmp_path,
        [SetGates(), dict(type="mmbas.GateMonitorHook", interval=interval)],
        train_cfg=dict(by_epoch=True, max_epochs=1),
        visualizer=visualizer,
    )


def test_shares_by_hand(tmp_path):
    monitored(tmp_path)
    entries = scalars(tmp_path)
    layers = [entry for entry in entries if "gates/layer1.0/open_fraction" in entry]
    assert [entry["step"] for entry in layers] == [2, 4]
    assert layers[0]["gates/layer1.0/open_fraction"] == 1.0
    assert layers[0]["gates/layer2.1/open_fraction"] == 0.0
    assert layers[0]["gates/layer3.2/open_fraction"] == 0.5
    assert layers[0]["gates/layer3.2/conditional"] == 0.0  # half always on, half always off
    # 48 + 192 / 2 of 336 gates are open
    lines = [entry for entry in entries if "loss_fit" in entry]
    assert lines[-1]["gates/open_fraction"] == pytest.approx(144 / 336)
    assert lines[-1]["gates/bas_factor"] == 1.0
    assert "gates/l0_factor" in lines[-1]


def test_log_line_names_the_layers(tmp_path):
    monitored(tmp_path)
    log = next(tmp_path.glob("*/*.log")).read_text()
    assert "layer1.0 1.00 (0.00)  layer1.1 1.00 (0.00)" in log
    assert list(tmp_path.glob("*/vis_data/events.out.tfevents*"))


def test_counts_start_anew_after_a_report():
    hook = GateMonitorHook(interval=1)
    hook._num_open = {"layer1.0.gate": torch.tensor([6.0, 0.0, 3.0])}
    hook._num_images = 6
    rates = hook._reset_rates()
    assert rates["layer1.0.gate"].tolist() == [1.0, 0.0, 0.5]
    assert hook._reset_rates() == {}


def test_bad_interval_and_model(tmp_path):
    with pytest.raises(ValueError, match="expected interval >= 1, but got 0"):
        GateMonitorHook(interval=0)
    with pytest.raises(ValueError, match="expected a model with gate_losses"):
        run(tmp_path, [dict(type="mmbas.GateMonitorHook")], model=PlainModel())


def test_plain_network_in_a_gated_model_shows_nothing(tmp_path):
    model = GatedModel(gate=False)
    run(tmp_path, [dict(type="mmbas.GateMonitorHook", interval=1)], model=model)


@pytest.fixture(autouse=True)
def _fresh_visualizer():
    yield
    Visualizer._instance_dict.clear()
