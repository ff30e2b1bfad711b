"""docs/own-gate.md: its gate works as printed, with every consumer that the page names."""

import re

import pytest
import torch
from source_tree import ROOT

pytest.importorskip("mmpretrain")

from mmengine.registry import MODELS as HOST_MODELS
from mmengine.registry import DefaultScope
from mmpretrain.structures import DataSample

from mmbas.compress.match_macs import match_macs

PAGE = (ROOT / "docs" / "own-gate.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_the_page_runs_as_printed_and_the_gate_trains(capsys):
    names = {}
    for text in BLOCKS:
        exec(compile(text, "own-gate", "exec"), names)
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == "torch"
    gate_lines = [line for line in BLOCKS[0].splitlines() if line.strip()]
    assert len(gate_lines) <= 40

    with DefaultScope.overwrite_default_scope("mmpretrain"):  # another test may have left its own
        model = HOST_MODELS.build(
            dict(
                type="mmbas.GatedImageClassifier",
                backbone=names["backbone"],
                neck=dict(type="mmpretrain.GlobalAveragePooling"),
                head=dict(type="mmpretrain.LinearClsHead", num_classes=3, in_channels=64),
                gate_losses=names["gate_losses"],
            )
        )
    samples = [DataSample().set_gt_label(i % 3) for i in range(32)]
    images = torch.randn(32, 3, 16, 16) * torch.linspace(0.1, 4, 32)[:, None, None, None]
    losses = model(images, samples, mode="loss")
    model.parse_losses(losses)[0].backward()
    assert "loss_target_rate" in losses
    assert all(parameter.grad is not None for parameter in model.parameters())
    batch = dict(inputs=images, data_samples=[DataSample() for _ in range(32)])
    _, fraction = match_macs(model.eval(), [batch], target=0.5)
    assert fraction == pytest.approx(0.5, abs=0.05)
