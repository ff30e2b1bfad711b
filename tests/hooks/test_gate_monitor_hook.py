"""What the monitor shows: numbers by hand, keys, backends."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from helpers import end_worker
from hooks.runner_case import GATE_LOSSES, GatedModel, PlainModel, run
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


def monitored(tmp_path, *hooks, interval=2):
    visualizer = dict(
        type="Visualizer",
        vis_backends=[dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")],
    )
    return run(
        tmp_path,
        [SetGates(), *hooks, dict(type="mmbas.GateMonitorHook", interval=interval)],
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


def test_tensorboard_holds_losses_factors_and_layers(tmp_path):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    ).EventAccumulator
    schedule = dict(
        type="mmbas.GateLossScheduleHook",
        windows=dict(bas=dict(begin=0, end=4, start_factor=1.0, end_factor=0.0)),
        by_epoch=False,
    )
    monitored(tmp_path, schedule)
    events = accumulator(str(next(tmp_path.glob("*/vis_data"))))
    events.Reload()
    tags = events.Tags()["scalars"]

    layers = [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(3)]
    for layer in layers:
        assert {f"gates/{layer}/open_fraction", f"gates/{layer}/conditional"} <= set(tags)
    assert {"loss", "loss_fit", "loss_bas", "loss_gate_l0", "lr"} <= set(tags)
    # No name of a metric of the validation, whose steps are epochs.
    whole = {"gates/open_fraction", "gates/train_conditional"}
    whole |= {"gates/bas_factor", "gates/l0_factor"}
    assert {tag for tag in tags if tag.startswith("gates/")} == whole | {
        f"gates/{layer}/{key}" for layer in layers for key in ("open_fraction", "conditional")
    }

    def values(tag):
        return [(event.step, pytest.approx(event.value)) for event in events.Scalars(tag)]

    # The factor falls by a quarter each iteration and is reported with every other one.
    assert values("gates/bas_factor")[-1] == (4, 0.25)
    assert values("gates/layer3.2/open_fraction") == [(2, 0.5), (4, 0.5)]
    assert values("gates/open_fraction")[-1] == (4, 144 / 336)


def test_the_line_of_an_iteration_tells_losses_gates_and_factors(tmp_path):
    monitored(tmp_path)
    log = next(tmp_path.glob("*/*.log")).read_text()
    (line,) = [line for line in log.splitlines() if "Epoch(train) [1][4/4]" in line]
    for part in (
        "gates/bas_factor: 1.0000",
        "gates/l0_factor: 1.0000",
        "gates/open_fraction: 0.4286",
        "gates/train_conditional: 0.0000",
        "loss_bas: ",
        "loss_gate_l0: ",
    ):
        assert part in line


def two_process_worker(rank, folder):
    """Six images on one process, two on the other; the hook's view of them."""
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    shown = {}
    runner = SimpleNamespace(
        iter=0,
        model=GatedModel(gate_losses=GATE_LOSSES),
        message_hub=SimpleNamespace(update_scalar=shown.__setitem__),
        visualizer=SimpleNamespace(add_scalars=lambda values, step: shown.update(values)),
        logger=SimpleNamespace(info=lambda line: None),
    )
    gates = torch.zeros(6 if rank == 0 else 2, 4, dtype=torch.bool)
    gates[:, 0] = True
    gates[:, 1] = rank == 0
    gates[:1, 2] = True
    runner.model.last_gates = {"backbone.layer1.0.gate": gates}
    GateMonitorHook(interval=1).after_train_iter(runner, 0)
    torch.save(shown, f"{folder}/rank{rank}.pt")
    end_worker()


def test_two_processes_report_the_images_of_both(tmp_path):
    paths = [*sys.path, str(Path(__file__).parents[1])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen([sys.executable, __file__, str(rank), str(tmp_path)], env=environment)
        for rank in range(2)
    ]
    assert [worker.wait(timeout=600) for worker in workers] == [0, 0]
    for rank in range(2):
        shown = torch.load(tmp_path / f"rank{rank}.pt")
        # Open rates of 8 images: 8/8, 6/8, 2/8, 0/8. The mean is 1/2; two of four are conditional.
        assert shown["gates/layer1.0/open_fraction"] == pytest.approx(0.5)
        assert shown["gates/layer1.0/conditional"] == 0.5
        assert shown["train/gates/open_fraction"] == pytest.approx(0.5)
        assert shown["train/gates/train_conditional"] == 0.5
        assert shown["train/gates/bas_factor"] == 1.0


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


if __name__ == "__main__":
    two_process_worker(int(sys.argv[1]), sys.argv[2])
