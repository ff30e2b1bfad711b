"""MMDetection's RetinaNet and Faster R-CNN, gated: every tool works on them, or says why not."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers import ROOT

if find_spec("mmdet") is None:
    pytest.skip("MMDetection is not installed", allow_module_level=True)

STORY = Path(__file__).with_name("detection_story.py")


@pytest.fixture(
    scope="module",
    params=["faster_rcnn", pytest.param("retinanet", marks=pytest.mark.slow)],
)
def seen(request, tmp_path_factory):
    """What the tools wrote and said about a detector that was trained for an epoch."""
    folder = tmp_path_factory.mktemp(request.param)
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    result = subprocess.run(
        [sys.executable, str(STORY), request.param, str(folder)],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-1000:] + result.stderr[-3000:]
    return json.loads(result.stdout.strip().splitlines()[-1])


def test_a_last_batch_of_one_image_is_found_before_training(seen):
    assert (
        "but got 1 in the last batch of an epoch (9 images in batches of 4)"
        in (seen["one image left"])
    )
    assert "set train_dataloader.batch_sampler.drop_last=True or" in seen["one image left"]


def test_a_test_reports_boxes_and_costs(seen):
    masked = seen["masked"]
    assert {"coco/bbox_mAP", "macs/average", "gates/conditional"} <= set(masked)
    assert 0 < masked["macs/average"] < masked["macs/dense"]


def test_sliced_execution_finds_the_same_boxes(seen):
    for key, value in seen["masked"].items():
        if key.startswith(("coco/", "macs/", "gates/")):
            assert seen["sliced"][key] == pytest.approx(value, abs=2e-3, rel=1e-6), key
    assert max(seen["boxes"].values()) < 0.05  # pixels


def test_a_reduced_detector_costs_the_same(seen):
    assert seen["reduced"]["macs/dense"] <= seen["masked"]["macs/dense"]
    average = seen["masked"]["macs/average"]
    assert seen["reduced"]["macs/average"] == pytest.approx(average, rel=0.05)


def test_a_detector_is_moved_to_another_cost(seen):
    assert seen["matched"]["macs/fraction"] == pytest.approx(0.7, abs=0.02)


def test_the_gate_report_knows_the_classes_of_the_boxes(seen):
    assert {"figure_5.png", "figure_6.png", "figure_4.png"} <= set(seen["figures"])


def test_parts_are_counted(seen):
    parts = {part["name"] for part in seen["counted"]["parts"]}
    assert {"stem", "layer1", "layer4", "neck"} <= parts
    assert seen["counted"]["dense_macs"] > 0


def test_the_part_that_gates_make_faster_is_timed(seen):
    assert seen["timed"]["sliced_ms"] > 0
    assert seen["timed"]["max_rel_diff"] < 1e-4


def test_what_a_detector_cannot_do_is_one_line(seen):
    assert "expected a classifier or segmentor to export, but got Gated" in seen["export"]
    assert "expected a classifier or segmentor, but got Gated" in seen["step"]


def test_three_lines_in_the_hosts_own_config_train_an_iteration(seen):
    assert {"loss", "loss_bas", "loss_cls", "loss_bbox"} <= set(seen["stock"])
