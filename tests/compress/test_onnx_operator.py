"""ONNX Runtime runs the backbone as one node and gives what the masked network gives."""

import pytest
import torch

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("mmpretrain")
pytest.importorskip("mmseg")
pytest.importorskip("sklearn")

from compress.test_runtime_export import HEADS, segmentor
from mmpretrain.registry import MODELS
from sliced.small_models import randomize_norms

from mmbas.compress.onnx_export import ExportedNetwork, max_relative_difference, open_session
from mmbas.compress.onnx_operator import export_with_operator
from mmbas.datasets import Digits
from mmbas.sliced.native.build import BuildError
from mmbas.sliced.native.library import get_library, library_path

try:
    LIBRARY = library_path()
except BuildError as error:
    pytest.skip(str(error), allow_module_level=True)


def classifier():
    torch.manual_seed(0)
    config = dict(
        type="mmbas.GatedImageClassifier",
        data_preprocessor=dict(mean=[78.0, 70.0, 60.0], std=[82.6, 80.0, 75.0], to_rgb=True),
        backbone=dict(type="mmbas.GatedResNetCifar", depth=8),
        neck=dict(type="GlobalAveragePooling"),
        head=dict(type="LinearClsHead", num_classes=10, in_channels=64),
    )
    return randomize_norms(MODELS.build(config))


def session_of(network, path, **options):
    export_with_operator(network, path, **options)
    return open_session(path, operators=LIBRARY)


def test_labels_and_gates_of_a_whole_test_set(tmp_path):
    network = ExportedNetwork(classifier(), image_size=(32, 32), with_gates=True).eval()
    session = session_of(network, tmp_path / "a.onnx")
    assert [value.name for value in session.get_outputs()] == ["logits", "gates"]
    digits = Digits(split="test", pipeline=[], test_mode=True)
    images = torch.stack([torch.from_numpy(sample["img"]) for sample in digits])
    images = images.permute(0, 3, 1, 2).float()
    difference, num_images = max_relative_difference(network, session, images)
    assert difference < 1e-4
    assert num_images > 300


def test_a_segmentor_whose_head_is_ordinary_onnx(tmp_path):
    network = ExportedNetwork(segmentor(HEADS["PSPHead"]), image_size=(48, 64)).eval()
    session = session_of(network, tmp_path / "a.onnx")
    difference, num_images = max_relative_difference(network, session, torch.rand(2, 3, 48, 64))
    assert difference < 1e-4
    assert num_images > 0


def test_bfloat16_is_near(tmp_path):
    if get_library().mmbas_fastest_kernels(1) < 0:
        pytest.skip("the CPU has no fast bfloat16")
    network = ExportedNetwork(classifier(), image_size=(32, 32)).eval()
    session = session_of(network, tmp_path / "a.onnx", bfloat16=True)
    images = torch.rand(2, 3, 32, 32) * 255
    (logits,) = session.run(None, {"images": images.numpy()})
    with torch.no_grad():
        (expected,) = network(images)
    assert (torch.from_numpy(logits) - expected).abs().max() < 0.2 * expected.abs().max()


def test_wrong_images_are_an_error_of_onnx_runtime(tmp_path):
    network = ExportedNetwork(classifier(), image_size=(32, 32)).eval()
    session = session_of(network, tmp_path / "a.onnx")
    with pytest.raises(Exception, match="mmbas::GatedBackbone: there is no image|Got invalid dim"):
        session.run(None, {"images": torch.zeros(1, 3, 0, 32).numpy()})


def test_a_damaged_node_is_refused_when_the_session_is_made(tmp_path):
    import onnx

    network = ExportedNetwork(classifier(), image_size=(32, 32)).eval()
    export_with_operator(network, tmp_path / "a.onnx")
    model = onnx.load(str(tmp_path / "a.onnx"))
    (node,) = (node for node in model.graph.node if node.op_type == "GatedBackbone")
    (file,) = (attribute for attribute in node.attribute if attribute.name == "file")
    file.s = file.s[:-10]
    onnx.save(model, str(tmp_path / "b.onnx"))
    with pytest.raises(Exception, match="mmbas::GatedBackbone: the file is cut off"):
        open_session(tmp_path / "b.onnx", operators=LIBRARY)


def test_a_sliding_test_is_refused(tmp_path):
    network = ExportedNetwork(segmentor(HEADS["PSPHead"]), image_size=(48, 64)).eval()
    network.model.test_cfg["mode"] = "slide"
    with pytest.raises(ValueError, match="sees an image whole"):
        export_with_operator(network, tmp_path / "a.onnx")
