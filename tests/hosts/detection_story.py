"""A detector from drawn streets to a reduced network, by the tools; one process for all of it.

``python detection_story.py NET FOLDER`` prints what it saw as JSON in its last line. It is a
process of its own since mmbas.torchvision_operators changes what the hosts find in mmcv.
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import mmbas.torchvision_operators  # noqa: F401 - before any host

# isort: split
import mmdet
import torch
from helpers import CONFIGS, call_tool, error_of, json_of
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from mmbas.cli.command_line import load_config
from mmbas.cli.trained_model import load_trained_model
from mmbas.datasets.street_scenes import write_street_scenes
from mmbas.sliced import accelerate

STOCK = {
    "faster_rcnn": "faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py",
    "retinanet": "retinanet/retinanet_r50_fpn_1x_coco.py",
}
HEADS = {
    "faster_rcnn": dict(
        rpn_head=dict(in_channels=16, feat_channels=16),
        roi_head=dict(
            bbox_roi_extractor=dict(out_channels=16),
            bbox_head=dict(in_channels=16, fc_out_channels=32),
        ),
        test_cfg=dict(rcnn=dict(score_thr=0.0)),
    ),
    "retinanet": dict(
        bbox_head=dict(in_channels=16, feat_channels=16, stacked_convs=1),
        test_cfg=dict(score_thr=0.0),
    ),
}


def tiny_config(net: str, folder: Path) -> Path:
    """The config of the street scenes with a ResNet-18 and narrow heads, on 9 images."""
    write_street_scenes(folder / "data", num_train=9, num_val=4, size=(64, 96), coco=True)
    config = Config.fromfile(CONFIGS / f"{net}_r50_bas_street_boxes.py")
    loaders = {
        f"{part}_dataloader.dataset.data_root": str(folder / "data")
        for part in ("train", "val", "test")
    }
    annotations = str(folder / "data/annotations/instances_val.json")
    evaluators = {f"{part}_evaluator.0.ann_file": annotations for part in ("val", "test")}
    config.merge_from_dict({**loaders, **evaluators}, allow_list_keys=True)
    config.merge_from_dict(
        {
            "model.backbone.depth": 18,
            "model.neck": dict(in_channels=[64, 128, 256, 512], out_channels=16),
            "model.gate_losses.target": dict(type="mmbas.TargetMACsLoss", target=0.6),
            "train_cfg": dict(max_epochs=1, val_interval=1),
            "visualizer.vis_backends": [dict(type="LocalVisBackend")],
            "work_dir": str(folder / "run"),
        }
    )
    config.merge_from_dict({"model": HEADS[net]})
    path = folder / f"{net}.py"
    config.dump(str(path))
    return path


def boxes_by_path(config: Path, checkpoint: Path) -> dict[str, float]:
    """Largest difference in pixels of matched boxes from the masked model's, by execution path."""
    loaded = load_config(str(config))
    model = load_trained_model(loaded, str(checkpoint))
    batches = list(Runner.build_dataloader(loaded.test_dataloader))
    apart = {}
    for path in ("auto", "torch"):
        fast: Any = accelerate(model, path=path)
        apart[path] = 0.0
        for batch in batches:
            with torch.no_grad():
                (one,) = model.test_step(copy.deepcopy(batch))
                (other,) = fast.test_step(copy.deepcopy(batch))
            assert one.macs == other.macs
            apart[path] = max(apart[path], distance(one.pred_instances, other.pred_instances))
    return apart


def distance(one: Any, other: Any) -> float:
    """Largest distance in pixels of the boxes at the same place of both lists.

    Boxes of the same score within rounding are left out: which of them comes first, and which NMS
    keeps, is a tie.
    """
    assert len(one) == len(other) > 0
    torch.testing.assert_close(one.scores, other.scores, atol=1e-5, rtol=0)
    gaps = (one.scores[:, None] - one.scores[None]).abs().fill_diagonal_(torch.inf)
    apart = (one.bboxes - other.bboxes).abs().amax(dim=1)
    return float(apart.masked_fill(gaps.min(dim=1).values < 1e-6, 0.0).max())


def stock_step(net: str) -> list[str]:
    """Names of the losses of an iteration with MMDetection's own config and three other lines."""
    stock = Path(mmdet.__file__).parent / ".mim" / "configs" / STOCK[net]
    config = Config.fromfile(stock)
    host = f"mmdet.{config.model.type}"
    gate_losses = dict(bas=dict(type="mmbas.BatchShapingLoss", reduction="layer_mean"))
    config.model.update(type="mmbas.GatedModel", host=host, gate_losses=gate_losses)
    config.model.backbone.type = "mmbas.GatedResNet"
    config.model.backbone.init_cfg = None  # a download
    init_default_scope("mmdet")
    model: Any = MODELS.build(config.model)
    boxes = InstanceData(bboxes=torch.tensor([[4.0, 4.0, 40.0, 40.0]]), labels=torch.tensor([1]))
    samples = [
        DetDataSample(metainfo=dict(img_shape=(64, 64)), gt_instances=boxes.clone())
        for _ in range(2)
    ]
    images = [torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8) for _ in range(2)]
    optimizer = build_optim_wrapper(model, config.optim_wrapper)
    return sorted(model.train_step(dict(inputs=images, data_samples=samples), optimizer))


def main(net: str, folder: Path) -> dict[str, Any]:
    config = tiny_config(net, folder)
    seen: dict[str, Any] = {"stock": stock_step(net)}
    # Nine images in batches of four.
    small = [config, "--cfg-options", "train_dataloader.batch_sampler.drop_last=False"]
    seen["one image left"] = error_of("train", *small)
    call_tool("train", config)
    checkpoint = folder / "run" / "epoch_1.pth"
    tested = [config, checkpoint, "--work-dir", folder / "test"]
    pictures = ["--save-macs", folder / "macs.json", "--show-macs", folder / "macs.png"]
    seen["masked"] = json_of(call_tool, "test", *tested, *pictures, out=folder / "masked.json")
    seen["sliced"] = json_of(call_tool, "test", *tested, "--sliced", out=folder / "sliced.json")
    seen["boxes"] = boxes_by_path(config, checkpoint)
    call_tool("reduce", config, checkpoint, "--out", folder / "reduced.pth", "--min-rate", "0")
    reduced = [folder / "reduced.py", folder / "reduced.pth", "--work-dir", folder / "test"]
    seen["reduced"] = json_of(call_tool, "test", *reduced, out=folder / "reduced.json")
    matched = [config, checkpoint, "--out", folder / "matched.pth", "--target", "0.7"]
    seen["matched"] = json_of(call_tool, "match_macs", *matched, out=folder / "matched.json")
    call_tool("analyze_gates", config, checkpoint, "--out-dir", folder / "gates")
    seen["figures"] = sorted(path.name for path in (folder / "gates").glob("*.png"))
    counted = [config, "--shape", "64", "96"]
    seen["counted"] = json_of(call_tool, "count_macs", *counted, out=folder / "counted.json")
    times = ["--repeats", "2", "--libraries", "torch", "--no-compile", "--precisions", "float32"]
    timed = [config, "--checkpoint", checkpoint, "--paths", "torch", *times]
    seen["timed"] = json_of(call_tool, "benchmark_inference", *timed, out=folder / "timed.json")
    exported = [config, checkpoint, folder / "x.onnx", "--shape", "64", "96"]
    seen["export"] = error_of("export_onnx", *exported)
    seen["step"] = error_of("benchmark_training", config, "--shape", "64", "96")
    return seen


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]))))
