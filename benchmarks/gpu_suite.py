"""Everything that one lent GPU should tell, in the order of its worth, within so many minutes.

1. the tests that need a GPU;
2. the Triton path beside the masked network and the one without gates, eager and compiled, in
   bfloat16 at batch 1, 8 and 128;
3. a training step with gates beside one without;
4. the batch-shaping loss.

Each step is a process of its own. The same command goes on where an earlier run was stopped: what
is done is not repeated, what failed is. JSON and report are written after every step.

    python benchmarks/gpu_suite.py --minutes 15 --out-json benchmarks/FILE.json
    python benchmarks/gpu_suite.py --minutes 15 --out-json /tmp/dry.json --dry-run
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmbas.cli.command_line import own_command, run_tool, write_json
from mmbas.cli.environment import describe

ROOT = Path(__file__).resolve().parents[1]
GPU_TESTS = (
    "tests/sliced",
    "tests/losses",
    "tests/test_training_options.py",
    "tests/test_segmentation_runs.py",
)
BATCH_SIZES = (1, 8, 128)
FOLDERS = ("benchmarks", "configs", "tests", "tools")
OUTPUT_LINES = 15  # kept of what a step prints


@dataclass(frozen=True)
class Step:
    """One process.

    Attributes:
        name: Unique in the suite.
        command: Arguments of Python.
        minutes: Longest time that it may take; it is not started with less time left.
        writes_json: True if it takes ``--out-json``.
    """

    name: str
    command: tuple[str, ...]
    minutes: float
    writes_json: bool = True


def steps_on_gpu() -> list[Step]:
    """All steps, the most valuable first."""
    inference = [
        Step(
            f"inference {network} batch {batch_size}",
            (
                *("tools/benchmark_inference.py", f"configs/{network}_bas_imagenet.py"),
                *("--open-fraction", "0.5", "--shape", "224", "--batch-size", str(batch_size)),
                *("--device", "cuda", "--dtype", "bfloat16", "--precisions", "bfloat16"),
                *("--libraries", "torch", "--paths", "triton", "--repeats", "15"),
            ),
            minutes=2,
        )
        for network in ("resnet34", "resnet50")
        for batch_size in BATCH_SIZES
    ]
    training = [
        Step(
            f"training {config} batch {batch_size}",
            (
                *("tools/benchmark_training.py", f"configs/{config}.py", "--device", "cuda"),
                *("--batch-size", str(batch_size), "--repeats", "10"),
            ),
            minutes=1,
        )
        for config, batch_size in (("resnet20_bas_cifar10", 256), ("resnet50_bas_imagenet", 64))
    ]
    return [
        Step("tests", ("-m", "pytest", "-q", "-rs", "-m", "gpu", *GPU_TESTS), 3, writes_json=False),
        *inference,
        *training,
        Step("loss", ("benchmarks/loss_cost.py", "--device", "cuda"), minutes=0.5),
    ]


def steps_of_dry_run() -> list[Step]:
    """One small step of each kind on the CPU, the kernels in Triton's interpreter."""
    config = "configs/resnet20_bas_digits.py"
    depth = ("--cfg-options", "model.backbone.depth=8")
    return [
        Step("tests", ("-m", "pytest", "-q", "-m", "gpu", GPU_TESTS[1]), 0, writes_json=False),
        Step(
            "inference",
            (
                *("tools/benchmark_inference.py", config, "--open-fraction", "0.5"),
                *("--shape", "8", "--libraries", "torch", "--precisions", "float32"),
                *("--no-compile", "--paths", "triton", "--repeats", "1", *depth),
            ),
            minutes=0,
        ),
        Step(
            "training",
            (
                *("tools/benchmark_training.py", config, "--batch-size", "2", "--repeats", "1"),
                *depth,
            ),
            minutes=0,
        ),
        Step(
            "loss",
            ("benchmarks/loss_cost.py", "--num-images", "8", "--num-gates", "4", "--rounds", "1"),
            minutes=0,
        ),
    ]


def run_step(step: Step, *, seconds: float, dry_run: bool) -> dict[str, Any]:
    """Run a step; returns its state ``done`` or ``failed``, time, result and last output."""
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    if dry_run:
        variables |= {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        command = [sys.executable, *step.command]
        command += ["--out-json", str(out)] if step.writes_json else []
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=seconds,
                check=False,
            )
            state, output = "failed" if done.returncode else "done", done.stdout
        except subprocess.TimeoutExpired as error:
            state, output = "failed", f"{_text(error.stdout)}\nstopped: the time was over"
        result = json.loads(out.read_text(encoding="utf-8")) if out.exists() else None
    return {
        "state": state,
        "seconds": time.monotonic() - start,
        "command": " ".join(["python", *step.command]),
        "result": result,
        "output": output.splitlines()[-OUTPUT_LINES:],
    }


def _text(output: bytes | str | None) -> str:
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def report(steps: Sequence[Step], record: dict[str, Any]) -> str:
    """Results so far, as Markdown."""
    kind = "dry run on the CPU, no timing below means anything" if record["dry_run"] else "GPU"
    lines = [f"# GPU suite ({kind})", "", f"`{record['command']}`", ""]
    lines += ["| step | state | seconds |", "|---|---|---|"]
    found = record["steps"]
    for step in steps:
        row = found.get(step.name, {"state": "not run", "seconds": 0.0})
        lines.append(f"| {step.name} | {row['state']} | {row['seconds']:.0f} |")
    for step in steps:
        if step.name in found:
            lines += ["", f"## {step.name}", "", f"`{found[step.name]['command']}`", ""]
            lines += ["```", *found[step.name]["output"], "```"]
    return "\n".join(lines) + "\n"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, required=True, help="time of this run")
    parser.add_argument("--out-json", required=True, metavar="FILE", help="the report goes beside")
    parser.add_argument("--dry-run", action="store_true", help="small, on the CPU, interpreted")
    args = parser.parse_args()
    if not args.minutes > 0:
        parser.error(f"expected --minutes > 0, but got {args.minutes}")
    return args


def earlier_steps(out: Path, *, dry_run: bool) -> dict[str, Any]:
    """Results of an earlier run by name."""
    if not out.exists():
        return {}
    record = json.loads(out.read_text(encoding="utf-8"))
    if record["dry_run"] != dry_run:
        kind = "a dry run" if record["dry_run"] else "a GPU"
        raise ValueError(f"expected a file of the same kind of run, but {out} is of {kind}")
    return record["steps"]


def main() -> None:
    args = parse_args()
    out, end = Path(args.out_json), time.monotonic() + 60 * args.minutes
    steps = steps_of_dry_run() if args.dry_run else steps_on_gpu()
    found = earlier_steps(out, dry_run=args.dry_run)
    record = {"command": own_command(), "dry_run": args.dry_run, **describe(), "steps": found}
    for step in steps:
        left = end - time.monotonic()
        if found.get(step.name, {}).get("state") != "done" and left > 60 * step.minutes:
            found[step.name] = run_step(step, seconds=left, dry_run=args.dry_run)
            print(f"{step.name}: {found[step.name]['state']}", flush=True)
        write_json(str(out), record)
        out.with_suffix(".md").write_text(report(steps, record), encoding="utf-8")
    not_done = [step.name for step in steps if found.get(step.name, {}).get("state") != "done"]
    print(f"{len(steps) - len(not_done)} of {len(steps)} done; see {out.with_suffix('.md')}")
    if not_done:
        print(f"not done: {', '.join(not_done)}; the same command goes on with them")
        sys.exit(1)


if __name__ == "__main__":
    run_tool(main)
