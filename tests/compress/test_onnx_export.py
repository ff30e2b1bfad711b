"""ONNX Runtime = torch, for any batch size, gates, and the pools of PSPNet."""

import copy

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("mmpretrain")

import torch
from helpers import CONFIGS, build_model
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, DefaultScope
from torch.nn import functional as F

from mmbas.compress import onnx_export
from mmbas.compress.onnx_export import (
    ExportedNetwork,
    export_onnx,
    max_relative_difference,
    open_session,
    require_packages,
)
from mmbas.gates import force_gate_logits, named_gates, record_gate_outputs

DIGITS = CONFIGS / "resnet20_bas_digits.py"
SIZE = (32, 32)
FIVE_CLASSES = {"num_classes": 5}


def images(number, size=SIZE, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(number, 3, *size, generator=generator) * 255


@pytest.fixture(scope="module")
def model():
    return build_model(DIGITS)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "gated.onnx"
    network = ExportedNetwork(model, image_size=SIZE, with_gates=True)
    export_onnx(network, path)
    return network, open_session(path)


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_parity_for_any_batch_size(exported, batch_size):
    difference, compared = max_relative_difference(*exported, images(batch_size))
    assert compared == batch_size
    assert difference <= 1e-4


@torch.no_grad()
def test_outputs_are_the_models_on_preprocessed_images(model, exported):
    batch = images(3).round()
    data = model.data_preprocessor({"inputs": list(batch)})
    with record_gate_outputs(model) as records:
        expected = model(data["inputs"], mode="tensor")
    gates = torch.cat([output.gates for (output,) in records.values()], dim=1)
    logits, own_gates = exported[1].run(None, {"images": batch.numpy()})
    torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=1e-4, atol=1e-4)
    assert own_gates.dtype == bool
    assert torch.equal(torch.from_numpy(own_gates), gates > 0)
    assert 0.1 < gates.mean() < 0.9


def test_names_and_dynamic_batch(exported):
    session = exported[1]
    assert [value.name for value in session.get_inputs()] == ["images"]
    assert session.get_inputs()[0].shape == ["batch", 3, 32, 32]
    assert [value.name for value in session.get_outputs()] == ["logits", "gates"]


@pytest.mark.parametrize("default", ["meta", "cpu"])
def test_any_default_device_gives_the_same_file(model, exported, tmp_path, default):
    network, session = exported
    with torch.device(default):
        export_onnx(network, tmp_path / "default.onnx")
        again = open_session(tmp_path / "default.onnx")
    inputs = {"images": images(2).numpy()}
    assert (again.run(None, inputs)[0] == session.run(None, inputs)[0]).all()


def test_a_layer_that_onnx_has_not_is_named(model, tmp_path):
    class Generalized(torch.nn.Module):
        def forward(self, inputs):
            return (torch.special.bessel_j0(inputs[0]).mean(dim=(2, 3)),)

    changed = copy.deepcopy(model)
    changed.neck = Generalized()
    network = ExportedNetwork(changed, image_size=SIZE)
    with pytest.raises(ValueError, match=r"expected layers that torch exports.*bessel_j0"):
        export_onnx(network, tmp_path / "file.onnx")


def test_a_wrong_file_is_found(model, exported, tmp_path):
    session = exported[1]
    other = ExportedNetwork(model, image_size=SIZE, with_gates=True)
    other.model.head.fc.bias.data += 1
    assert max_relative_difference(other, session, images(2))[0] > 1e-3
    named_gates(other)["model.backbone.layer1.0.gate"].fc2.bias.data += 100
    with pytest.raises(ValueError, match="expected the gates of torch in ONNX Runtime"):
        max_relative_difference(other, session, images(2))


def test_images_with_a_gate_at_zero_are_left_out(exported):
    network, session = exported
    with force_gate_logits(network, {"model.backbone.layer1.0.gate": torch.zeros(1)}):
        assert max_relative_difference(network, session, images(2)) == (0.0, 0)


def test_gates_of_groups_of_channels_export(tmp_path):
    config = Config.fromfile(DIGITS)
    config.model.backbone.gate.group = 4
    config.dump(tmp_path / "groups.py")
    network = ExportedNetwork(build_model(tmp_path / "groups.py"), image_size=SIZE, with_gates=True)
    export_onnx(network, tmp_path / "groups.onnx")
    session = open_session(tmp_path / "groups.onnx")
    difference, compared = max_relative_difference(network, session, images(4))
    assert compared >= 3
    assert difference <= 1e-4


def test_reduced_network_exports(tmp_path):
    config = Config.fromfile(DIGITS)
    widths = [dict(channels=c, always_open=c // 2) for c in (5, 9, 16, 8, 20, 30, 40, 50)]
    config.model.backbone.block_widths = [*widths, dict(channels=1, always_open=1)]
    config.dump(tmp_path / "reduced.py")
    model = build_model(tmp_path / "reduced.py")
    network = ExportedNetwork(model, image_size=SIZE, with_gates=True)
    export_onnx(network, tmp_path / "reduced.onnx")
    session = open_session(tmp_path / "reduced.onnx")
    difference, compared = max_relative_difference(network, session, images(4))
    assert compared >= 3
    assert difference <= 1e-4


def test_plain_network_has_no_gates_to_export(tmp_path):
    config = Config.fromfile(CONFIGS / "resnet20_cifar10.py")
    config.data_preprocessor.to_rgb = True
    config.dump(tmp_path / "plain.py")
    model = build_model(tmp_path / "plain.py")
    with pytest.raises(ValueError, match="expected a model with gates to export"):
        ExportedNetwork(model, image_size=SIZE, with_gates=True)
    network = ExportedNetwork(model, image_size=SIZE)
    assert network.flip_channels
    export_onnx(network, tmp_path / "plain.onnx")
    session = open_session(tmp_path / "plain.onnx")
    assert max_relative_difference(network, session, images(2))[0] <= 1e-4
    data = model.data_preprocessor({"inputs": list(images(2))})
    with torch.no_grad():
        expected = model(data["inputs"], mode="tensor")
        torch.testing.assert_close(network(images(2))[0], expected, rtol=1e-4, atol=1e-4)


def test_segmentor_exports_with_pools_of_uneven_windows(tmp_path):
    pytest.importorskip("mmseg")
    size = (72, 104)  # a feature map of 9x13, in 1, 2, 3 and 6 windows
    with DefaultScope.overwrite_default_scope("mmseg"):
        config = Config.fromfile(CONFIGS / "pspnet_r18_bas_camvid.py").model
        torch.manual_seed(0)
        model = MODELS.build(config).eval()
        model.init_weights()
        network = ExportedNetwork(model, image_size=size)
        export_onnx(network, tmp_path / "pspnet.onnx")
        session = open_session(tmp_path / "pspnet.onnx")
        difference, compared = max_relative_difference(network, session, images(3, size))
        assert compared >= 1  # gates at 0 are left out
        assert difference <= 1e-4
        data = model.data_preprocessor({"inputs": list(images(1, size)), "data_samples": None})
        with torch.no_grad():
            logits = model(data["inputs"], mode="tensor")
            expected = F.interpolate(logits, size, mode="bilinear", align_corners=False)
            torch.testing.assert_close(network(images(1, size))[0], expected, rtol=1e-3, atol=1e-4)


def test_preprocessor_that_pads_is_refused(tmp_path):
    config = Config.fromfile(DIGITS)
    config.data_preprocessor.pad_size_divisor = 32
    config.dump(tmp_path / "padding.py")
    model = build_model(tmp_path / "padding.py")
    assert ExportedNetwork(model, image_size=SIZE) is not None
    with pytest.raises(ValueError, match=r"makes \(1, 3, 64, 32\) of \(1, 3, 33, 32\)"):
        ExportedNetwork(model, image_size=(33, 32))


def test_missing_package_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None if name == "onnx" else name)
    require_packages("onnxruntime")
    with pytest.raises(ValueError, match=r"but onnx is missing; run pip install onnx"):
        require_packages("onnx", "onnxruntime")


def segmentor(head=FIVE_CLASSES, **changes):
    """A small gated segmentor, whose parts have random weights."""
    pytest.importorskip("mmseg")
    model = dict(
        type="mmbas.GatedEncoderDecoder",
        data_preprocessor=dict(type="SegDataPreProcessor", mean=[99.0] * 3, std=[50.0] * 3),
        backbone=dict(type="mmbas.GatedResNetCifar", depth=8),
        decode_head=dict(
            type="FCNHead",
            in_channels=64,
            in_index=0,
            channels=8,
            num_convs=1,
            norm_cfg=dict(type="BN"),
            align_corners=False,
            **head,
        ),
        train_cfg=dict(),
        test_cfg=dict(mode="whole"),
    )
    with DefaultScope.overwrite_default_scope("mmseg"):
        torch.manual_seed(0)
        built = MODELS.build(ConfigDict({**model, **changes}))
    torch.nn.init.normal_(built.decode_head.conv_seg.weight)
    return built.eval()


def run_file(model, path, size, number=2, **options):
    """Outputs of the exported file by their names, and the model's own predictions."""
    network = ExportedNetwork(model, image_size=size, **options)
    export_onnx(network, path)
    session = open_session(path)
    batch = images(number, size)
    outputs = session.run(None, {"images": batch.numpy()})
    with torch.no_grad():
        predicted = model.predict(model.data_preprocessor({"inputs": list(batch)})["inputs"])
    named = dict(zip(network.output_names, map(torch.from_numpy, outputs), strict=True))
    assert [value.name for value in session.get_outputs()] == list(named)
    return named, predicted


def test_sliding_windows_are_in_the_file(tmp_path):
    slide = dict(mode="slide", crop_size=(32, 32), stride=(20, 24))
    model = segmentor(test_cfg=slide)
    outputs, predicted = run_file(model, tmp_path / "slide.onnx", (48, 72), 3, with_gates=True)
    whole, _ = run_file(segmentor(), tmp_path / "whole.onnx", (48, 72), 3)
    assert (outputs["logits"] - whole["logits"]).abs().max() > 1e-2
    for i, sample in enumerate(predicted):
        expected = sample.seg_logits.data
        torch.testing.assert_close(outputs["logits"][i], expected, rtol=1e-3, atol=1e-3)
        assert torch.equal(outputs["gates"][i], sample.gates)


def test_one_channel_is_compared_with_a_threshold(tmp_path):
    head = dict(
        out_channels=1, threshold=0.4, loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=True)
    )
    model = segmentor(dict(num_classes=2, **head))
    outputs, predicted = run_file(model, tmp_path / "one.onnx", (32, 40))
    assert outputs["logits"].shape == (2, 1, 32, 40)
    assert 0.05 < outputs["labels"].float().mean() < 0.95
    for i, sample in enumerate(predicted):
        differ = outputs["labels"][i] != (sample.pred_sem_seg.data[0] > 0)
        assert differ.float().mean() < 1e-3


@pytest.mark.parametrize("rule", [dict(thr=0.5), dict(topk=3)])
def test_several_labels_of_an_image_are_an_output(tmp_path, rule):
    config = Config.fromfile(DIGITS)
    config.model.head = dict(type="MultiLabelLinearClsHead", num_classes=10, in_channels=64, **rule)
    config.dump(tmp_path / "labels.py")
    outputs, predicted = run_file(build_model(tmp_path / "labels.py"), tmp_path / "m.onnx", SIZE)
    for i, sample in enumerate(predicted):
        chosen = outputs["labels"][i].nonzero()[:, 0]
        assert torch.equal(chosen, sample.pred_label.sort().values)


def test_a_model_that_predicts_otherwise_is_refused(model):
    other = build_model(DIGITS)
    head = other.head
    predict = head.predict
    head.predict = lambda feats, samples=None: predict([-feats[-1]], samples)
    with pytest.raises(ValueError, match="expected predictions by argmax of logits, but Gated"):
        ExportedNetwork(other, image_size=SIZE)


def test_a_segmentor_without_a_test_mode_is_refused():
    with pytest.raises(ValueError, match="expected test_cfg with a mode"):
        ExportedNetwork(segmentor(test_cfg=None), image_size=(32, 32))


def test_a_segmentors_padding_is_refused():
    padding = dict(type="SegDataPreProcessor", test_cfg=dict(size_divisor=32))
    model = segmentor(data_preprocessor=padding)
    assert ExportedNetwork(model, image_size=(32, 64)) is not None
    with pytest.raises(ValueError, match=r"makes \(1, 3, 64, 64\) of \(1, 3, 33, 64\)"):
        ExportedNetwork(model, image_size=(33, 64))
