"""Every method trains in two processes as in one, resumes, and is tested, exported and reported."""

import os
import shutil
import subprocess
import sys

import pytest
import torch

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")

import rival_worker
from helpers import call_tool, write_config
from mmpretrain.structures import DataSample
from rival_worker import TRAINED, classifier
from sliced.small_models import randomize_norms

from mmbas.analysis import profile_gates
from mmbas.compress.match_macs import match_macs
from mmbas.compress.onnx_export import (
    ExportedNetwork,
    export_onnx,
    max_relative_difference,
    open_session,
)
from mmbas.gates import named_gates
from mmbas.metrics import ConditionalMACs


@pytest.fixture(scope="module")
def both_processes(tmp_path_factory):
    """Gradients by method that two processes with half of the images each came to."""
    folder = tmp_path_factory.mktemp("rivals")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, rival_worker.__file__, str(rank), str(folder)],
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=600) for process in processes] == [0, 0]
    return [torch.load(folder / f"rank{rank}.pt") for rank in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("method", TRAINED)
def test_two_processes_train_as_one(both_processes, method):
    expected = rival_worker.gradients(method, slice(0, 4))
    for process in both_processes:
        for name, grad in process[method].items():
            torch.testing.assert_close(grad, expected[name], rtol=1e-6, atol=1e-9, msg=name)


@pytest.fixture(params=TRAINED)
def trained(request):
    return randomize_norms(classifier(request.param))


def batch_of(num_images):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(num_images, 3, 8, 8, generator=generator)
    samples = [DataSample().set_gt_label(i % 3) for i in range(num_images)]
    return dict(inputs=images, data_samples=samples)


def test_a_report_names_what_the_gates_switch_and_metrics_read_their_costs(trained):
    metric = ConditionalMACs()
    with torch.no_grad():
        predicted = [sample.to_dict() for sample in trained.test_step(batch_of(6))]
    metric.process(None, predicted)
    costs = metric.evaluate(6)
    assert 0 < costs["macs/average"] <= costs["macs/dense"]
    profile = profile_gates(trained, [batch_of(6)], name="net", classes=("a", "b", "c"))
    seats = [block.seats for block in trained.backbone.blocks if block.gate is not None]
    assert profile.switches == seats[0].switches
    assert profile.executed == {"channels": "filters"}.get(profile.switches, profile.switches)
    assert sum(profile.layers.values()) == len(predicted[0]["gates"])


def test_another_budget_for_gates_that_have_biases(trained):
    gates = named_gates(trained).values()
    if not all(gate.logit_biases() for gate in gates):
        with pytest.raises(ValueError, match="have biases to shift"):
            match_macs(trained, [batch_of(64)], 0.9)
        return
    _, fraction = match_macs(trained, [batch_of(64)], 0.8)
    assert fraction == pytest.approx(0.8, abs=0.05)


def test_onnx_runtime_gives_what_torch_gives(trained, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    network = ExportedNetwork(trained, image_size=(8, 8), with_gates=True)
    export_onnx(network, tmp_path / "gated.onnx")
    session = open_session(tmp_path / "gated.onnx")
    for num_images in (1, 5):
        images = torch.rand(num_images, 3, 8, 8, generator=torch.Generator().manual_seed(2)) * 255
        difference, compared = max_relative_difference(network, session, images)
        assert compared >= num_images - 1
        assert difference <= 1e-4


RESUMED = """
model = dict(
    backbone=dict(
        _delete_=True,
        type="mmbas.GatedResNetCifar",
        depth=8,
        gate_positions="block",
        plain_blocks=(0,),
        gate=dict(type="mmbas.RecurrentGate", sampler=dict(type="mmbas.Bernoulli")),
        gater=dict(type="mmbas.RecurrentGater"),
    ),
    gate_losses=dict(
        bas=None,
        l0=None,
        policy=dict(type="mmbas.PolicyGradientLoss", loss_weight=1.0),
        bounds=dict(type="mmbas.DensityBoundsLoss", target=0.4, of="macs"),
    ),
)
custom_hooks = [
    dict(
        type="mmbas.SettingScheduleHook",
        setting="tightness",
        loss="bounds",
        window=dict(begin=0.5, end=2.5, start=1.0, stop=0.1, shape="exponential"),
    ),
    dict(
        type="mmbas.SettingScheduleHook",
        setting="noise_scale",
        window=dict(begin=1, end=3, start=1.0, stop=0.5, shape="steps", num_steps=2),
    ),
]
"""


def test_a_resumed_training_is_the_uninterrupted_one(tmp_path):
    config = write_config(tmp_path, RESUMED)
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    call_tool("train", config, "--work-dir", whole)
    resumed.mkdir()
    shutil.copy(whole / "epoch_1.pth", resumed)
    (resumed / "last_checkpoint").write_text(str(resumed / "epoch_1.pth"), encoding="utf-8")
    call_tool("train", config, "--work-dir", resumed, "--resume")
    states = [
        torch.load(folder / "epoch_3.pth", map_location="cpu", weights_only=False)["state_dict"]
        for folder in (whole, resumed)
    ]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    assert any("gater.cell" in name for name in states[0])
