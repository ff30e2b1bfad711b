"""Bad input gets an error that says what was expected, what was got and what to do.

Whatever can be known is refused before the first training step.
"""

import re

import pytest
import torch

pytest.importorskip("mmpretrain")
pytest.importorskip("sklearn")

from helpers import build_model, error_of, run_tool, write_checkpoint, write_config
from mmengine.config import Config
from mmengine.registry import HOOKS, MODELS, init_default_scope
from mmengine.runner import Runner
from mmpretrain.structures import DataSample

CIFAR_BLOCKS = "['layer1.3', 'layer1.4', 'layer2.3', 'layer2.4', 'layer3.3', 'layer3.4']"
WINDOW = dict(begin=0, end=2, start_factor=0.0, end_factor=1.0)


@pytest.fixture(scope="module", autouse=True)
def _scope():
    init_default_scope("mmpretrain")


@pytest.fixture
def config(tmp_path):
    """The config of a training of 12 iterations, which logs errors only."""
    config = Config.fromfile(write_config(tmp_path))
    config.merge_from_dict(
        dict(work_dir=str(tmp_path / "run"), experiment_name=tmp_path.name, log_level="ERROR")
    )
    return config


@pytest.fixture
def refused(monkeypatch):
    """A function that trains a config and returns the error that came before the first step."""

    def step(*_, **__):
        raise AssertionError("training has started")

    def train(config):
        # Collecting compilers' versions for the log takes longer than all the rest.
        monkeypatch.setattr(Runner, "_log_env", lambda *_: None)
        monkeypatch.setattr(MODELS.get("mmbas.GatedImageClassifier"), "train_step", step)
        with pytest.raises(ValueError, match="expected") as error:
            Runner.from_cfg(config).train()
        return str(error.value)

    return train


def gated(**options):
    return dict(type="mmbas.GatedResNet", **options)


def with_gate(**options):
    return gated(depth=18, gate=dict(type="mmbas.ChannelGate", **options))


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (gated(depth=42), "expected depth in [18, 34, 50, 101, 152], but got 42"),
        (
            dict(type="mmbas.GatedResNetCifar", depth=18),
            "expected a depth of 6n + 2 (8, 14, 20, 26, 32, ...), but got 18",
        ),
        (
            gated(depth=50, gate_positions="conv3"),
            "expected gate_positions in ['both', 'conv1', 'conv2', 'out', 'all', 'shared', "
            "'tiles', 'branch', 'block'] in a block, but got 'conv3'",
        ),
        (
            gated(depth=18, gate_positions="conv2"),
            "expected gate_positions in ['both', 'conv1', 'out', 'all', 'tiles', 'branch', "
            "'block'] in a basic block, which has one inner representation, but got 'conv2'",
        ),
        (with_gate(temperature=0), "expected temperature > 0, but got 0"),
        (with_gate(temperature=-1.5), "expected temperature > 0, but got -1.5"),
        (with_gate(init_open_prob=1), "expected init_open_prob in (0, 1), but got 1"),
        (
            dict(type="mmbas.BatchShapingLoss", prior=dict(type="mmbas.BetaPrior", a=0, b=0.4)),
            "expected a > 0 and b > 0 for a Beta prior, both between 0.01 and 100, "
            "but got a=0, b=0.4",
        ),
        (
            dict(type="mmbas.KumaraswamyPrior", a=0.6, b=-2),
            "expected a > 0 and b > 0 for a Kumaraswamy prior, both between 0.01 and 100, "
            "but got a=0.6, b=-2",
        ),
        (
            dict(type="mmbas.BatchShapingLoss", loss_weight=-0.75),
            "expected a finite loss_weight >= 0, but got -0.75",
        ),
        (
            dict(type="mmbas.GateL0Loss", loss_weight=-1),
            "expected a finite loss_weight >= 0, but got -1",
        ),
        (
            dict(type="mmbas.GateL0Loss", reduction="max"),
            "expected reduction to be one of ('sum', 'layer_mean', 'mean'), but got 'max'",
        ),
    ],
)
def test_a_component_refuses_arguments_out_of_range(component, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        MODELS.build(component)


def test_gate_losses_without_gates_are_refused(config):
    config.model.backbone.gate = None
    with pytest.raises(ValueError, match=r"expected a gated backbone .* no gates; .* drop gate_"):
        MODELS.build(config.model)


@pytest.mark.parametrize(
    ("window", "message"),
    [
        (
            dict(begin=5, end=4),
            "schedule window of gate loss 'l0': expected a window with 0 <= begin <= end, "
            "but got begin=5, end=4",
        ),
        (dict(begin=-1), "expected a window with 0 <= begin <= end, but got begin=-1, end=2"),
        (dict(end_factor=1.5), "expected end_factor in [0, 1], but got 1.5"),
        (dict(stop=3), "schedule window of gate loss 'l0': "),
    ],
)
def test_a_window_that_makes_no_sense_is_refused(window, message):
    hook = dict(type="mmbas.GateLossScheduleHook", windows=dict(l0={**WINDOW, **window}))
    with pytest.raises(ValueError, match=re.escape(message)):
        HOOKS.build(hook)


def test_a_window_of_no_loss_is_refused_before_training(config, refused):
    config.custom_hooks = [dict(type="mmbas.GateLossScheduleHook", windows=dict(l1=WINDOW))]
    message = "expected schedule windows for the gate losses ['bas', 'l0'], but got ['l1']"
    assert refused(config) == message


def test_a_window_of_a_dropped_loss_is_refused_before_training(config, refused):
    config.model.gate_losses.bas = None
    message = "expected schedule windows for the gate losses ['l0'], but got ['bas']"
    assert refused(config) == message


def test_a_window_in_epochs_is_refused_where_iterations_are_counted(config, refused):
    config.train_cfg = dict(by_epoch=False, max_iters=4, val_interval=4)
    message = refused(config)
    assert "expected by_epoch=False, since IterBasedTrainLoop has no epochs" in message
    assert "in iterations" in message


@pytest.mark.parametrize(
    ("loader", "advice"),
    [
        (dict(batch_size=1), "batch_size"),
        # 33 images: the fifth batch of the first epoch is a single image.
        (dict(dataset=dict(indices=33), drop_last=False), "drop_last=True"),
    ],
)
def test_a_batch_of_one_image_is_refused_before_training(config, refused, loader, advice):
    config.merge_from_dict(dict(train_dataloader=loader))
    message = refused(config)
    assert re.search("expected at least 2 images .* but got 1", message)
    assert advice in message


def test_a_last_batch_of_one_image_may_be_dropped(config, refused):
    config.merge_from_dict(dict(train_dataloader=dict(dataset=dict(indices=33), drop_last=True)))
    with pytest.raises(AssertionError, match="training has started"):
        refused(config)


def batch(num_images=4):
    return dict(
        inputs=[torch.zeros(3, 32, 32, dtype=torch.uint8) for _ in range(num_images)],
        data_samples=[DataSample().set_gt_label(i) for i in range(num_images)],
    )


@pytest.mark.parametrize(("mode", "value"), [("loss", float("nan")), ("predict", float("inf"))])
def test_logits_that_are_no_numbers_name_their_layer(tmp_path, mode, value):
    model = build_model(write_config(tmp_path)).train(mode == "loss")
    torch.nn.init.constant_(model.get_parameter("backbone.layer2.1.gate.fc2.bias")[:1], value)

    data = model.data_preprocessor(batch(), training=mode == "loss")
    message = (
        r"expected finite gate logits, but got NaN or infinite ones at backbone\.layer2\.1\.gate; "
        "lower the learning rate, clip gradients"
    )
    with pytest.raises(FloatingPointError, match=message):
        model(**data, mode=mode)


@pytest.mark.parametrize("resume", [False, True])
def test_training_refuses_to_start_from_a_checkpoint_of_another_depth(
    tmp_path, config, refused, resume
):
    write_checkpoint(tmp_path / "tiny.py", tmp_path / "depth20.pth")
    config.model.backbone.depth = 32
    config.load_from, config.resume = str(tmp_path / "depth20.pth"), resume
    message = refused(config)
    assert "expected a checkpoint of the same depth, but got one without blocks" in message
    assert CIFAR_BLOCKS in message
    assert "set depth to the checkpoint's" in message


def test_an_initialisation_refuses_a_checkpoint_of_another_depth(tmp_path, config):
    write_checkpoint(tmp_path / "tiny.py", tmp_path / "depth20.pth")
    weights = dict(type="Pretrained", checkpoint=str(tmp_path / "depth20.pth"), prefix="backbone.")
    config.merge_from_dict(dict(model=dict(backbone=dict(depth=32, init_cfg=weights))))
    model = MODELS.build(config.model)
    with pytest.raises(ValueError, match=re.escape(f"got one without blocks {CIFAR_BLOCKS}")):
        model.init_weights()


def test_the_test_tool_refuses_a_checkpoint_of_another_depth(tmp_path):
    write_checkpoint(write_config(tmp_path), tmp_path / "depth20.pth")
    deeper = write_config(tmp_path, "model = dict(backbone=dict(depth=32))", name="deeper.py")
    error = error_of("test", deeper, tmp_path / "depth20.pth", "--work-dir", tmp_path / "run")
    assert "expected a checkpoint of the same depth" in error
    assert CIFAR_BLOCKS in error


def test_a_data_root_that_does_not_exist_is_refused_before_anything_is_built(tmp_path):
    missing = tmp_path / "missing"
    options = [
        f"train_dataloader.dataset.data_root={tmp_path}",
        f"val_dataloader.dataset.data_root={missing}",
    ]
    config = "configs/resnet20_bas_cifar10_folder.py"
    error = error_of("train", config, "--work-dir", tmp_path / "run", "--cfg-options", *options)
    assert error == (
        f"error: expected the data of val_dataloader in the folder {missing}, but it does not "
        "exist; set another with --cfg-options val_dataloader.dataset.data_root=FOLDER"
    )
    assert not (tmp_path / "run").exists()


def test_a_tool_tells_an_error_of_a_component_in_one_line(tmp_path):
    error = error_of(
        *("train", write_config(tmp_path), "--work-dir", tmp_path / "run"),
        *("--cfg-options", "model.gate_losses.bas.prior.b=-0.4"),
        run=run_tool,
    )
    assert error.startswith("error: expected a > 0 and b > 0 for a Beta prior")
    assert error.endswith("but got a=0.6, b=-0.4")
