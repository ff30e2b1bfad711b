"""Time that the statistics of the gate report add to an evaluation of random images.

python benchmarks/gate_report_cost.py --network resnet34 --repeats 5 --out-json FILE
"""

from __future__ import annotations

import argparse
import copy
from typing import Any

import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.structures import DataSample

from mmbas.analysis import profile_gates
from mmbas.cli.command_line import load_config, with_origin, write_json
from mmbas.measure.timing import interleaved_seconds, median_ms, median_ratio

CONFIG = "configs/resnet20_bas_digits.py"
HOST = [dict(type="Accuracy"), dict(type="mmbas.ConditionalMACs")]
# Image size, images per batch, classes.
SIZES = {"resnet20": (32, 128, 10), "resnet34": (224, 8, 1000)}
NUM_BATCHES = 2


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--network", choices=sorted(SIZES), default="resnet20")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out-json", metavar="FILE")
    return parser.parse_args()


def build(network: str, num_classes: int) -> Any:
    config = load_config(CONFIG)
    init_default_scope(config.default_scope)
    if network == "resnet34":
        config.model.backbone = dict(type="mmbas.GatedResNet", depth=34)
        config.model.head.update(in_channels=512, num_classes=num_classes)
    preprocessor = {**config.data_preprocessor, "num_classes": num_classes}
    return MODELS.build({**config.model, "data_preprocessor": preprocessor}).eval()


def main() -> None:
    args = parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    size, num_images, num_classes = SIZES[args.network]
    model = build(args.network, num_classes)
    shape = (3, size, size)
    batches = [
        dict(
            inputs=[torch.randint(0, 255, shape, dtype=torch.uint8) for _ in range(num_images)],
            data_samples=[DataSample().set_gt_label(i % num_classes) for i in range(num_images)],
        )
        for _ in range(NUM_BATCHES)
    ]
    classes = [str(i) for i in range(num_classes)]

    def evaluator(metrics: list[dict[str, str]]) -> Evaluator:
        built = Evaluator(metrics)
        built.dataset_meta = dict(classes=classes)
        return built

    @torch.no_grad()
    def evaluate() -> None:
        metrics = evaluator([*HOST, dict(type="mmbas.GateStatistics")])
        for batch in copy.deepcopy(batches):
            metrics.process(data_samples=model.test_step(batch), data_batch=batch)

    def analyse() -> None:
        profile_gates(
            model, copy.deepcopy(batches), name="x", classes=classes, evaluator=evaluator(HOST)
        )

    calls = {"evaluate": evaluate, "analyse": analyse}
    seconds = interleaved_seconds(calls, repeats=args.repeats, warmup=1)
    images = NUM_BATCHES * num_images
    result = {
        "network": args.network,
        "repeats": args.repeats,
        "images": images,
        **{f"{name}_ms_per_image": median_ms(values) / images for name, values in seconds.items()},
        "time_ratio": median_ratio(seconds["analyse"], seconds["evaluate"]),
    }
    print(result)
    write_json(args.out_json, with_origin(result, CONFIG))


if __name__ == "__main__":
    main()
