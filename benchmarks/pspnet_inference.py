"""Gated PSPNet-R50 at 512x1024 against the plain one, the whole network, on the CPU.

Fewer calls than tools/benchmark_inference.py makes, which takes minutes at this size: one uncounted
call of each, then the counted ones in turns, with fresh random gates for every image.

    python benchmarks/pspnet_inference.py --threads 2 --out-json benchmarks/FILE.json
"""

from __future__ import annotations

import argparse
import itertools

import torch
from mmengine.registry import MODELS, init_default_scope

from mmbas.cli.command_line import load_config, with_origin, write_json
from mmbas.measure.contenders import caller, folded_pair, random_gate_batches, total_macs
from mmbas.measure.timing import interleaved_seconds, median_ms, median_ratio
from mmbas.sliced import accelerate

CONFIG = "configs/pspnet_r50_bas_cityscapes.py"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--shape", nargs=2, type=int, default=[512, 1024])
    parser.add_argument("--open-fraction", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out-json", metavar="FILE")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    config = load_config(CONFIG)
    init_default_scope(config.default_scope)
    gated = MODELS.build(config.model).eval()
    source = random_gate_batches(
        gated, (1, 3, *args.shape), open_fraction=args.open_fraction, vary=0.1
    )
    batches = list(itertools.islice(source, args.repeats))
    _, plain = folded_pair(gated)
    sliced = accelerate(gated)
    calls = {
        "dense_nhwc": caller(plain.to(memory_format=torch.channels_last), batches, layout="nhwc"),
        "sliced": caller(sliced, batches),
    }
    seconds = interleaved_seconds(calls, repeats=args.repeats, warmup=1)
    conditional, dense = total_macs(sliced, plain, batches[:1])
    result = {
        **{f"{name}_ms": median_ms(values) for name, values in seconds.items()},
        "time_ratio_eager": median_ratio(seconds["sliced"], seconds["dense_nhwc"]),
        "macs_ratio": conditional / dense,
        "threads": args.threads,
        "shape": args.shape,
        "repeats": args.repeats,
    }
    for key, value in result.items():
        print(key, value)
    write_json(args.out_json, with_origin(result, CONFIG))


if __name__ == "__main__":
    main()
