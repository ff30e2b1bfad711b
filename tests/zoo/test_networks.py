"""Networks that come with the package: whole, named in the index with what they reach."""

import json
import re

import pytest
import torch
import yaml

pytest.importorskip("mmpretrain")

from helpers import ROOT, build_model, call_tool, error_of, write_config

import mmbas
from mmbas.gates import named_gates
from mmbas.sliced import accelerate
from mmbas.zoo import network_names, networks

INDEX = yaml.safe_load((ROOT / "model-index.yml").read_text(encoding="utf-8"))
ENTRIES = {model["Weights"]: model for model in INDEX["Models"] if "Weights" in model}
MAX_BYTES = 2_500_000


def test_every_file_has_one_entry_with_results():
    files = {f"mmbas/zoo/weights/{name}.pth" for name in network_names()}
    assert files
    assert files == set(ENTRIES)
    for entry in ENTRIES.values():
        for result in entry["Results"]:
            assert set(result) == {"Task", "Dataset", "Metrics"}
            assert {"Average MACs (%)", "Average MACs (M)"} <= set(result["Metrics"])


@pytest.mark.parametrize("name", network_names())
def test_the_page_of_weights_has_the_figures_of_the_index(name):
    page = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
    (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
    (result,) = ENTRIES[f"mmbas/zoo/weights/{name}.pth"]["Results"]
    assert [float(cell) for cell in row.split("|")[3:6]] == list(result["Metrics"].values())


@pytest.mark.parametrize("name", network_names())
def test_a_network_classifies_and_tells_its_cost(name):
    model = mmbas.load(name)
    assert not model.training
    assert (networks.WEIGHTS / f"{name}.pth").stat().st_size < MAX_BYTES
    classes, size = (model.dataset_meta[key] for key in ("classes", "image_size"))
    images = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    samples = model.test_step(dict(inputs=list(images)))
    num_gates = sum(gate.num_gates for gate in named_gates(model).values())
    for sample in samples:
        assert len(sample.gates) == num_gates > 0
        assert sample.pred_score.shape == (len(classes),)
        assert 0 < sample.macs < sample.dense_macs


@pytest.mark.parametrize("name", network_names())
def test_a_network_can_be_sliced(name):
    model = mmbas.load(name)
    images = torch.randint(0, 256, (2, 3, *model.dataset_meta["image_size"]), dtype=torch.uint8)
    masked, sliced = (
        torch.stack([s.pred_score for s in each.test_step(dict(inputs=list(images)))])
        for each in (model, accelerate(model, path="torch"))
    )
    torch.testing.assert_close(sliced, masked, rtol=1e-3, atol=1e-4)


def test_the_digits_are_read():
    """As many as the index says, on the test images, which the network has not seen."""
    pytest.importorskip("sklearn")
    from mmbas.datasets import Digits

    entry = ENTRIES["mmbas/zoo/weights/resnet20-bas-digits.pth"]
    (result,) = entry["Results"]
    model, digits = mmbas.load("resnet20-bas-digits"), Digits("test")
    images = [torch.from_numpy(d["img"]).permute(2, 0, 1) for d in digits]
    samples = model.test_step(dict(inputs=images))
    right = [s.pred_label.item() == d["gt_label"] for s, d in zip(samples, digits, strict=True)]
    # One image more or less: rounding may decide a gate or a class otherwise on another machine.
    accuracy = result["Metrics"]["Top 1 Accuracy"] / 100
    assert sum(right) == pytest.approx(accuracy * len(right), abs=1.01)
    share = sum(s.macs for s in samples) / sum(s.dense_macs for s in samples)
    assert 100 * share == pytest.approx(result["Metrics"]["Average MACs (%)"], abs=0.2)


def test_the_code_of_the_page_runs(capsys):
    page = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    exec(compile(code, "weights.md", "exec"), {})
    assert "torch.Size([336])" in capsys.readouterr().out


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="expected the name of a trained network, .*digits.*'r9'"):
        mmbas.load("r9")


def test_a_packed_network_is_the_trained_one_in_half_precision(tmp_path, monkeypatch):
    config = write_config(tmp_path)
    content = trained(config, tmp_path / "trained.pth")
    monkeypatch.setattr(networks, "WEIGHTS", tmp_path)
    out = tmp_path / "out.json"
    call_tool("pack_weights", config, tmp_path / "trained.pth", "mine", "--out-json", out)
    assert json.loads(out.read_text())["file"] == str(tmp_path / "mine.pth")
    model = networks.load("mine")
    assert model.dataset_meta == dict(classes=tuple("0123456789"), image_size=(32, 32))
    for key, value in content["state_dict"].items():
        torch.testing.assert_close(model.state_dict()[key], value, rtol=1e-3, atol=1e-6)


def test_a_network_that_learned_from_a_teacher_needs_none_any_more(tmp_path, monkeypatch):
    config = ROOT / "configs" / "resnet20_target-macs_cifar10.py"
    alone = tmp_path / "alone.py"
    alone.write_text(f"_base_ = '{config}'\nmodel = dict(teacher=None, init_cfg=None)\n")
    trained(alone, tmp_path / "trained.pth")
    monkeypatch.setattr(networks, "WEIGHTS", tmp_path)
    call_tool("pack_weights", config, tmp_path / "trained.pth", "student")
    assert named_gates(networks.load("student"))


def test_a_checkpoint_without_classes_is_refused(tmp_path):
    config = write_config(tmp_path)
    trained(config, tmp_path / "bare.pth", meta={})
    error = error_of("pack_weights", config, tmp_path / "bare.pth", "mine")
    assert "expected the names of the classes" in error


def trained(config, path, meta=None):
    """A checkpoint as a training writes it, with random weights."""
    meta = dict(dataset_meta=dict(classes=tuple("0123456789"))) if meta is None else meta
    content = {"meta": meta, "state_dict": build_model(config).state_dict()}
    torch.save(content, path)
    return content
