"""Trains, tests and times a gated ResNet-20 on real handwritten digits; `make quickstart` runs it.

Examples:
    python tools/quickstart.py
    python tools/quickstart.py --work-dir work_dirs/short --cfg-options train_cfg.max_epochs=2
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from mmbas.cli.command_line import counted, run_tool
from mmbas.cli.environment import describe
from mmbas.hooks.checkpoint_file import latest_checkpoint

ROOT = Path(__file__).resolve().parents[1]
CONFIG = "configs/resnet20_bas_digits.py"
WORK_DIR = "work_dirs/quickstart"
OWN_FOLDER_MARK = ".made-by-quickstart"


def parse_args() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--work-dir", default=WORK_DIR, help="folder of all results, removed at the start"
    )
    parser.add_argument(
        "--threads", type=int, default=min(2, os.cpu_count() or 1), help="CPU threads when timing"
    )
    parser.add_argument(
        "--out-json", metavar="FILE", help="where the summary goes (WORK_DIR/summary.json)"
    )
    parser.add_argument(
        "--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="overrides of the config"
    )
    return parser.parse_args()


def start_clean(work_dir: Path) -> None:
    """Remove what an earlier quickstart left in its folder, and nothing else.

    Raises:
        SystemExit: If the folder holds something that no quickstart wrote.
    """
    mark = work_dir / OWN_FOLDER_MARK
    if work_dir.is_dir() and any(work_dir.iterdir()):
        if not mark.exists():
            raise SystemExit(
                f"quickstart: expected {work_dir} to be empty or left by an earlier quickstart, "
                "got other files; choose another folder with --work-dir"
            )
        print(f"Removing the earlier results in {work_dir}: this run starts clean.")
        shutil.rmtree(work_dir)
    work_dir.mkdir(parents=True, exist_ok=True)
    mark.touch()


def run_step(title: str, tool: str, *arguments: str) -> None:
    """Run one tool of this project with its progress on the terminal.

    Raises:
        SystemExit: If the tool fails.
    """
    command = [sys.executable, tool, *arguments]
    shown = shlex.join(["python", *command[1:]])
    print(f"\n=== {title}\n    {shown}\n", flush=True)
    result = subprocess.run(command, cwd=ROOT, check=False)
    if result.returncode != 0:
        raise SystemExit(
            f"\nquickstart: {title} failed with exit code {result.returncode}; its messages stand "
            f"above. To run that step alone:\n    {shown}"
        )


def last_checkpoint(work_dir: Path) -> str:
    """Path of the checkpoint that the training ended with.

    Raises:
        SystemExit: If the training left none.
    """
    checkpoint = latest_checkpoint(work_dir)
    if checkpoint is None:
        raise SystemExit(f"quickstart: expected a checkpoint in {work_dir}, the training left none")
    return str(checkpoint)


def summarise(metrics: dict[str, Any], times: dict[str, Any]) -> dict[str, Any]:
    """The numbers of ``summary.json`` from those of the test and of the benchmark."""
    environment = describe()
    return {
        "accuracy": metrics["accuracy"],
        "macs_fraction": metrics["macs/fraction"],
        "always_on": metrics["gates/always_on"],
        "conditional": metrics["gates/conditional"],
        "always_off": metrics["gates/always_off"],
        "dense_ms": times["dense_eager_ms"],
        "gated_ms": times["sliced_ms"],
        "commit": environment["commit"],
        "versions": environment["versions"],
    }


def remark_on_speed(summary: dict[str, Any], *, path: str) -> str:
    """Meaning of the measured ratio, said plainly."""
    if summary["gated_ms"] < summary["dense_ms"]:
        return ""
    if path == "torch":
        return (
            "Not faster: the native kernel, which needs a C++ compiler, cannot run here, and "
            "torch's operators take longer than the convolutions of this small network."
        )
    return "Not faster: the convolutions of this small network are over before skipping pays."


def table(summary: dict[str, Any], metrics: dict[str, Any], *, threads: int, path: str) -> str:
    """The closing table."""
    shares = (summary[key] for key in ("always_on", "conditional", "always_off"))
    dense_ms, gated_ms = summary["dense_ms"], summary["gated_ms"]
    millions = (metrics[key] / 1e6 for key in ("macs/average", "macs/dense"))
    rows = [
        ("test accuracy", f"{summary['accuracy']:.1%}"),
        (
            "average conditional MACs",
            "{:.1%} of dense ({:.1f} M of {:.1f} M)".format(summary["macs_fraction"], *millions),
        ),
        ("gates always on / conditional / always off", "{:.0%} / {:.0%} / {:.0%}".format(*shares)),
        (
            "dense time per image",
            f"{dense_ms:.2f} ms (batch size 1, {counted(threads, 'CPU thread')})",
        ),
        (
            "gated time per image",
            f"{gated_ms:.2f} ms ({dense_ms / gated_ms:.2f} x dense speed; {path} path, closed "
            "channels not computed)",
        ),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}   {value}" for name, value in rows]
    remark = remark_on_speed(summary, path=path)
    return "\n".join([*lines, remark] if remark else lines)


def main() -> None:
    """Train, test, time, summarise."""
    args = parse_args()
    started = time.monotonic()
    work_dir = (ROOT / args.work_dir).resolve()
    summary_file = Path(args.out_json).resolve() if args.out_json else work_dir / "summary.json"
    test_file, speed_file = work_dir / "test.json", work_dir / "speed.json"
    options = ["--cfg-options", *args.cfg_options] if args.cfg_options else []

    start_clean(work_dir)
    run_step("1/3 training", "tools/train.py", CONFIG, "--work-dir", str(work_dir), *options)
    checkpoint = last_checkpoint(work_dir)
    run_step(
        "2/3 testing",
        *("tools/test.py", CONFIG, checkpoint),
        *("--work-dir", str(work_dir), "--out-json", str(test_file), *options),
    )
    run_step(
        "3/3 timing",
        *("tools/benchmark_inference.py", CONFIG, "--checkpoint", checkpoint),
        *("--batch-size", "1", "--threads", str(args.threads), "--no-compile"),
        *("--libraries", "torch", "--precisions", "float32"),
        *("--out-json", str(speed_file), *options),
    )

    metrics, times = (json.loads(file.read_text("utf-8")) for file in (test_file, speed_file))
    summary = summarise(metrics, times)
    summary_file.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print("\n=== ResNet20-BAS on handwritten digits\n")
    print(table(summary, metrics, threads=args.threads, path=times["path"]))
    print(f"\nsummary     {summary_file}")
    print(f"checkpoint  {checkpoint}")
    print(f"all else    {work_dir} (logs, curves for TensorBoard, {test_file.name} ...)")
    print(f"This took {(time.monotonic() - started) / 60:.1f} minutes.")


if __name__ == "__main__":
    run_tool(main)
