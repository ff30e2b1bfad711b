"""Mixed precision, gradient accumulation, averaged weights, compilation: each with gate losses."""

import copy
from unittest import mock

import pytest
import torch
from hooks.runner_case import GATE_LOSSES, GatedModel, RandomImages
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import CheckpointLoader, Runner
from mmengine.structures import PixelData

from mmbas.blocks import GatedBasicBlock
from mmbas.models import GateLossMixin

LEARNING_RATE = 0.05
OLD_COMPILER = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 2)
QUEUED = dict(GATE_LOSSES, bas=dict(type="mmbas.BatchShapingLoss", queue_size=5))


class Recorder(Hook):
    """What each iteration logged, and the weights after it."""

    priority = "LOWEST"

    def __init__(self):
        self.logs, self.weights = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.logs.append({key: value.item() for key, value in outputs.items()})
        model = runner.model
        self.weights.append({k: p.detach().clone() for k, p in model.named_parameters()})


def seeded_model(gate_losses=GATE_LOSSES):
    torch.manual_seed(0)
    model = GatedModel(gate_losses=copy.deepcopy(gate_losses))
    model.backbone.init_weights()
    return model


def train(work_dir, *, name="run", model=None, hooks=(), optim_wrapper=None, epochs=2, **settings):
    """Train on four batches of two images an epoch; the recorder."""
    recorder = Recorder()
    torch.manual_seed(1)
    runner = Runner(
        model=model or seeded_model(),
        work_dir=str(work_dir / name),
        train_dataloader=dict(
            dataset=RandomImages(),
            batch_size=2,
            sampler=dict(type="DefaultSampler", shuffle=False),
            collate_fn=dict(type="default_collate"),
        ),
        optim_wrapper={
            "type": "OptimWrapper",
            "optimizer": dict(type="SGD", lr=LEARNING_RATE),
            **(optim_wrapper or {}),
        },
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        custom_hooks=list(hooks),
        randomness=dict(seed=3),
        experiment_name=f"{work_dir.name}_{name}",
        default_scope="mmengine",
        cfg=dict(settings, work_dir=str(work_dir / name)),
    )
    runner.register_hook(recorder)
    runner.train()
    return recorder


def gate_keys(weights):
    return [key for key in weights if ".gate." in key]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """An ordinary training, to compare with."""
    return train(tmp_path_factory.mktemp("plain"))


def test_bfloat16_trains_with_gate_losses_in_float32(tmp_path, plain):
    wrapper = dict(type="mmbas.BFloat16OptimWrapper")
    recorder = train(tmp_path, optim_wrapper=wrapper, epochs=3)
    assert len(recorder.logs) == 12
    for log in recorder.logs:
        assert all(torch.tensor(value).isfinite() for value in log.values())
    for weights in recorder.weights:
        assert all(value.dtype == torch.float32 for value in weights.values())
    # Before the first update only the features differ, by bfloat16's eight bits.
    for key, value in plain.logs[0].items():
        assert recorder.logs[0][key] == pytest.approx(value, rel=2e-2), key
    assert recorder.logs[0] != plain.logs[0]
    moved = recorder.weights[-1]["backbone.layer1.0.gate.fc2.weight"]
    assert not torch.equal(moved, recorder.weights[0]["backbone.layer1.0.gate.fc2.weight"])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_the_hosts_mixed_precision_trains_on_a_gpu(tmp_path, dtype):
    wrapper = dict(type="AmpOptimWrapper", dtype=dtype, loss_scale="dynamic")
    recorder = train(tmp_path, optim_wrapper=wrapper, epochs=3)
    for log in recorder.logs:
        assert all(torch.tensor(value).isfinite() for value in log.values())


def test_accumulation_averages_the_losses_of_its_parts():
    """Two parts of a batch: each is ranked by itself, and the update is that of their mean loss."""
    batches = torch.randn(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(5))
    model = seeded_model()
    twin = copy.deepcopy(model)
    optim_wrapper = OptimWrapper(
        torch.optim.SGD(model.parameters(), lr=LEARNING_RATE), accumulative_counts=2
    )
    optim_wrapper.initialize_count_status(model, 0, 2)
    torch.manual_seed(2)
    for batch in batches:
        model.train_step(dict(inputs=batch), optim_wrapper)

    torch.manual_seed(2)
    total = sum(sum(twin.loss(batch).values()) for batch in batches)
    (total / 2).backward()
    parameters = dict(model.named_parameters())
    for key, parameter in twin.named_parameters():
        expected = parameter.detach() - LEARNING_RATE * parameter.grad
        torch.testing.assert_close(parameters[key], expected, rtol=1e-4, atol=1e-6)
        if key.endswith(".gate.fc2.bias"):
            assert parameter.grad.abs().max() > 0


def test_accumulation_in_a_runner_updates_every_second_iteration(tmp_path):
    wrapper = dict(accumulative_counts=2)
    weights = train(tmp_path, optim_wrapper=wrapper).weights
    key = "backbone.layer2.0.gate.fc2.weight"
    changed = [not torch.equal(weights[i][key], weights[i - 1][key]) for i in range(1, 8)]
    assert changed == [True, False, True, False, True, False, True]


@pytest.mark.parametrize("update_buffers", [False, True])
@pytest.mark.parametrize("gate_losses", [GATE_LOSSES, QUEUED], ids=["batch", "queue"])
def test_averaged_weights_hold_the_gates(tmp_path, update_buffers, gate_losses):
    hook = dict(type="EMAHook", momentum=0.25, update_buffers=update_buffers)
    recorder = train(tmp_path, model=seeded_model(gate_losses), hooks=[hook])
    checkpoint = torch.load(tmp_path / "run" / "epoch_2.pth", weights_only=False)
    averaged, trained = checkpoint["state_dict"], checkpoint["ema_state_dict"]

    # By hand: the first weights, then three quarters of the average and one of the weights.
    for key in gate_keys(recorder.weights[0]):
        expected = recorder.weights[0][key].clone()
        for weights in recorder.weights[1:]:
            expected = 0.75 * expected + 0.25 * weights[key]
        torch.testing.assert_close(averaged[key], expected, rtol=1e-5, atol=1e-7)
        assert torch.equal(trained[f"module.{key}"], recorder.weights[-1][key])
    # Buffers are the network's own, or averaged as well.
    key = "backbone.layer1.0.gate.norm.running_mean"
    assert torch.equal(averaged[key], trained[f"module.{key}"]) != update_buffers


def test_averaging_that_begins_later(tmp_path):
    """Until then the hook copies the whole state, the queue that still fills included."""
    hook = dict(type="EMAHook", begin_epoch=2)
    train(tmp_path, model=seeded_model(QUEUED), hooks=[hook])
    assert (tmp_path / "run" / "epoch_2.pth").is_file()


class OneBlock(BaseModel):
    """A single gated block: enough for the compiler, and quick to compile."""

    def __init__(self):
        super().__init__()
        gate = dict(type="mmbas.ChannelGate")
        self.block = GatedBasicBlock(3, 8, 3, gate=gate, norm_cfg=dict(type="BN"))

    def forward(self, inputs, mode="tensor"):
        return self.loss(inputs)

    def loss(self, inputs):
        return dict(loss_fit=self.block(inputs).square().mean())


class GatedOneBlock(GateLossMixin, OneBlock):
    pass


@pytest.mark.skipif(OLD_COMPILER, reason="torch 2.1 compiles the backward pass and fails")
def test_a_traced_model_trains_as_the_plain_one(tmp_path):
    """torch.compile's tracing, with the graphs run as they are: the same numbers."""
    runs = []
    for name, settings in (("plain", {}), ("traced", dict(compile=dict(backend="eager")))):
        torch.manual_seed(0)
        model = GatedOneBlock(gate_losses=copy.deepcopy(GATE_LOSSES))
        runs.append(train(tmp_path, name=name, model=model, **settings))
    plain, traced = runs
    for i, (actual, expected) in enumerate(zip(traced.logs, plain.logs, strict=True)):
        assert actual == pytest.approx(expected, rel=1e-4), i
    assert 'has been "compiled"' in next((tmp_path / "traced").glob("*/*.log")).read_text()


def classifier():
    """A small CIFAR network with all kinds of gate losses, and a batch."""
    structures = pytest.importorskip("mmpretrain.structures")
    losses = dict(GATE_LOSSES, target=dict(type="mmbas.TargetMACsLoss", target=0.4))
    config = dict(
        type="mmbas.GatedImageClassifier",
        backbone=dict(type="mmbas.GatedResNetCifar", depth=8),
        neck=dict(type="GlobalAveragePooling"),
        head=dict(type="LinearClsHead", num_classes=3, in_channels=64),
        gate_losses=losses,
    )
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = MODELS.build(config)
    labels = [structures.DataSample().set_gt_label(i % 3) for i in range(4)]
    return model, torch.randn(4, 3, 16, 16), labels


def segmentor():
    """Two stages of a gated ResNet-18 under a PSP head, and a batch."""
    structures = pytest.importorskip("mmseg.structures")
    norm = dict(type="BN", requires_grad=True)
    stages = dict(num_stages=2, out_indices=(0, 1), dilations=(1, 1), strides=(1, 2))
    head = dict(type="PSPHead", in_channels=128, in_index=1, channels=8, pool_scales=(1, 2))
    fixed = dict(num_classes=5, dropout_ratio=0.0, align_corners=False, norm_cfg=norm)
    config = dict(
        type="mmbas.GatedEncoderDecoder",
        backbone=dict(type="mmbas.GatedResNet", depth=18, deep_stem=True, norm_cfg=norm, **stages),
        decode_head=dict(head, loss_decode=dict(type="CrossEntropyLoss"), **fixed),
        test_cfg=dict(mode="whole"),
        gate_losses=GATE_LOSSES,
    )
    with DefaultScope.overwrite_default_scope("mmseg"):
        model = MODELS.build(config)
    labels = [PixelData(data=torch.randint(0, 5, (1, 32, 32))) for _ in range(2)]
    meta = dict(img_shape=(32, 32))
    samples = [structures.SegDataSample(gt_sem_seg=label, metainfo=meta) for label in labels]
    return model, torch.randn(2, 3, 32, 32), samples


@pytest.mark.skipif(OLD_COMPILER, reason="torch 2.1 compiles the backward pass and fails")
@pytest.mark.parametrize(
    "backend",
    [pytest.param("aot_eager"), pytest.param("inductor", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("build", [classifier, segmentor])
def test_a_compiled_network_has_the_losses_and_gradients_of_the_plain_one(build, backend):
    """The whole model as mmengine's ``compile=`` does it, forward and backward; no gate noise.

    With the backend aot_eager torch's own operators run, with inductor generated code, which adds
    in another order: gradients of a parameter, as vectors, within 1e-2 of their length.
    """
    torch.manual_seed(0)
    lookup_backend = pytest.importorskip("torch._dynamo.backends.registry").lookup_backend
    torch._dynamo.reset()
    model, images, samples = build()
    model.train()
    compiled = copy.deepcopy(model)
    graphs = []

    def counting(graph, example_inputs):
        graphs.append(graph)
        return lookup_backend(backend)(graph, example_inputs)

    compiled.forward = torch.compile(compiled.forward, backend=counting)
    logs = []
    with mock.patch("mmbas.gates.binary_concrete.logistic_noise_like", torch.zeros_like):
        for network in (model, compiled):
            total, log = network.parse_losses(network(images, samples, mode="loss"))
            total.backward()
            logs.append({key: value.item() for key, value in log.items()})
    assert graphs  # the compiler saw it
    assert logs[1] == pytest.approx(logs[0], rel=1e-5)
    assert {"loss_bas", "loss_gate_l0"} < set(logs[0])
    gradients = {name: parameter.grad for name, parameter in compiled.named_parameters()}
    for name, parameter in model.named_parameters():
        distance = (gradients[name] - parameter.grad).norm()
        assert distance <= 1e-2 * parameter.grad.norm() + 1e-6, name
    assert gradients["backbone.layer1.0.gate.fc2.bias"].abs().max() > 1e-4


@pytest.mark.slow
@pytest.mark.skipif(OLD_COMPILER, reason="torch 2.1 compiles the backward pass and fails")
def test_a_compiled_model_trains(tmp_path, plain):
    """Generated code draws other noise, so only what does not depend on it is the same."""
    recorder = train(tmp_path, compile=True)
    first = plain.logs[0]
    assert recorder.logs[0]["loss_fit"] > 0
    assert recorder.logs[0]["loss_gate_l0"] == pytest.approx(first["loss_gate_l0"], rel=0.05)
    assert recorder.logs[0]["loss_bas"] == pytest.approx(first["loss_bas"], rel=0.1)
    assert all(torch.tensor(log["loss"]).isfinite() for log in recorder.logs)


@pytest.mark.skipif(
    not hasattr(torch.serialization, "safe_globals"), reason="torch loads everything by default"
)
def test_checkpoints_load_weights_only(tmp_path, monkeypatch):
    """The default of torch >= 2.6: mmengine allows what its own log history needs, and no more."""
    train(tmp_path, model=seeded_model(QUEUED), hooks=[dict(type="mmbas.GateMonitorHook")])
    calls, load = [], torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: calls.append(k) or load(*a, **k))
    path = str(tmp_path / "run" / "epoch_2.pth")
    checkpoint = CheckpointLoader.load_checkpoint(path, map_location="cpu", logger="silent")
    assert [call["weights_only"] for call in calls] == [True]  # not a second time, without
    assert set(checkpoint) >= {"state_dict", "optimizer", "message_hub", "meta"}
    seeded_model(QUEUED).load_state_dict(checkpoint["state_dict"])
