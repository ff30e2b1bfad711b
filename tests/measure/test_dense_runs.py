"""A plain network in each library computes what torch computes, in the precision asked for."""

import importlib.util

import pytest
import torch
from torch import nn

from mmbas.measure import dense_runs as module
from mmbas.measure import onnx_twin, onnxruntime_run, openvino_run
from mmbas.measure.cpu_class import CLASSES, cpu_class
from mmbas.measure.dense_run import DenseRun, ImageForms
from mmbas.measure.dense_runs import DenseSettings, dense_runs


class Pooled(nn.Module):
    """Two outputs, and an average over windows of different sizes as in PSPNet."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(3)

    def forward(self, images):
        maps = self.conv(images).relu()
        return maps, self.pool(maps)


@pytest.fixture
def images():
    torch.manual_seed(0)
    return [torch.randn(2, 3, 10, 14) for _ in range(3)]


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Pooled().eval().requires_grad_(False)


def test_every_library_gives_what_torch_gives(network, images):
    pytest.importorskip("onnx")
    # OpenVINO has a test of its own: a process that has loaded it may die or err when it forks.
    settings = DenseSettings(("float32", "int8"), ("torch", "onnxruntime"), compiled=False)
    found = dense_runs(network, images, settings)
    assert "torch eager float32" in found.runs
    for library in ("onnxruntime",):
        for precision in settings.precisions:
            name = f"{library} {precision}"
            if importlib.util.find_spec(library) is None:
                assert found.left_out[name] == f"the package {library} is not installed"
            else:
                assert found.differences[name] < (1e-4 if precision == "float32" else 0.2), name
    for run in found.runs.values():
        # All take the same images, one after the other.
        expected = [network(each)[-1] for each in images]
        for one, each in zip(run.inputs, expected, strict=True):
            actual = torch.as_tensor(run.infer(one)[-1])
            torch.testing.assert_close(actual, each, rtol=0, atol=0.2 * float(each.abs().max()))


@pytest.mark.slow
def test_openvino_computes_in_the_precision_asked_for(network, images):
    pytest.importorskip("onnx")
    pytest.importorskip("openvino")
    found = dense_runs(network, images, DenseSettings(("float32", "bfloat16"), ("openvino",)))
    # bfloat16 keeps 8 bits; float32 must not be rounded so, although that is quicker.
    assert found.differences["openvino float32"] < 1e-5
    if "openvino bfloat16" in found.runs:
        assert found.differences["openvino bfloat16"] > 1e-5
    else:
        assert found.left_out["openvino bfloat16"]  # says why


def test_absent_libraries_are_named(network, images, monkeypatch):
    for each in (onnx_twin, onnxruntime_run, openvino_run):
        monkeypatch.setattr(each, "find_spec", lambda name: None)
    found = dense_runs(network, images, DenseSettings(("float32",), compiled=False))
    assert list(found.runs) == ["torch eager float32"]
    assert found.left_out == {
        "onnxruntime float32": "the package onnxruntime is not installed",
        "openvino float32": "the package openvino is not installed",
    }


def test_a_wrong_result_is_no_rival(network, images, monkeypatch):
    def wrong(files, forms, precision):
        return DenseRun(
            "onnxruntime", "0", precision, lambda x: [1.5 * network(x)[-1]], forms.images
        )

    monkeypatch.setattr(module, "onnxruntime_run", wrong)
    found = dense_runs(network, images, DenseSettings(("float32",), ("onnxruntime",)))
    assert found.runs == {}
    assert found.left_out["onnxruntime float32"].startswith("its output is off by 5.0e-01")


def test_images_of_several_sizes_are_for_torch_only(network, images):
    several = [*images, torch.randn(2, 3, 12, 14)]
    libraries = ("torch", "onnxruntime", "openvino")
    found = dense_runs(network, several, DenseSettings(("float32",), libraries, compiled=False))
    assert list(found.runs) == ["torch eager float32"]
    assert all("sizes" in x or "installed" in x for x in found.left_out.values())


def test_forms_of_images_are_made_once(images):
    forms = ImageForms(images)
    assert forms.tensors(torch.bfloat16, "nhwc") is forms.tensors(torch.bfloat16, "nhwc")
    assert forms.tensors(torch.float32)[0].data_ptr() == images[0].data_ptr()
    assert forms.arrays()[1].shape == (2, 3, 10, 14)


@pytest.mark.parametrize("name", list(CLASSES))
def test_a_cpu_is_of_the_strongest_class_whose_flags_it_has(name):
    names = list(CLASSES)
    weaker = set().union(
        *(CLASSES[each] for each in names[names.index(name) :] if "neon" not in each)
    )
    assert cpu_class(weaker | CLASSES[name]) == name


def test_an_unknown_cpu_is_generic():
    assert cpu_class({"sse2"}) == "generic"
    assert cpu_class() in {*CLASSES, "generic"}
