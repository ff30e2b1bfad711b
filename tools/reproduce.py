"""Run a plan of trainings and tests: one JSON file per run, resumable, never a finished one twice.

Plans are YAML files in plans/; mmbas/experiments/plan.py describes them.
"""

from __future__ import annotations

import argparse
import fnmatch
import signal
import sys
from pathlib import Path
from typing import Any

from mmbas.cli.command_line import format_table, run_tool, with_origin, write_json
from mmbas.experiments.plan import Plan, load_plan
from mmbas.experiments.run_state import RunFiles, read_object
from mmbas.experiments.runner import PlanRunner


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="examples:\n"
        "  python tools/reproduce.py plans/cifar10-10k-20e.yaml --list\n"
        "  python tools/reproduce.py plans/cifar10-10k-20e.yaml --parallel 2 --hours 2\n"
        "  python tools/reproduce.py plans/cifar10-10k-20e.yaml --only 'resnet20_bas_*'\n"
        "A run with a result is finished as long as the plan gives it the same settings; after a\n"
        "change of its config file remove the result. Exit status: 0, also when the time is over;\n"
        "1 if a run failed; 130 if stopped by a signal.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("plan", help="plan file")
    parser.add_argument("--list", action="store_true", help="show what is done, run nothing")
    parser.add_argument("--only", metavar="PATTERN", help="runs whose name fits, e.g. '*_seed0'")
    parser.add_argument("--parallel", type=int, default=1, help="runs at once (1)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each run (1)")
    parser.add_argument("--hours", type=float, help="stop after this time; default: never")
    parser.add_argument(
        "--work-dir", metavar="DIR", help="checkpoints and logs; default work_dirs/PLAN"
    )
    parser.add_argument("--out-json", metavar="FILE", help="write the table to FILE as JSON")
    return parser.parse_args()


def files_of(plan: Plan, args: argparse.Namespace) -> list[RunFiles]:
    work_dir = Path(args.work_dir or Path("work_dirs") / Path(args.plan).stem)
    runs = [run for run in plan.runs if fnmatch.fnmatch(run.name, args.only or "*")]
    if not runs:
        raise ValueError(f"expected a run that fits {args.only!r}, but {args.plan} has none")
    return [RunFiles(run, work_dir / run.name, plan.results / f"{run.name}.json") for run in runs]


def state_of(files: RunFiles, failed: bool = False) -> dict[str, Any]:
    """One row of the table: accuracy (or mIoU) in percent, MACs as a fraction of dense."""
    row: dict[str, Any] = {"name": files.run.name, "done": files.done()}
    if not files.finished():
        state = "failed" if failed else "started" if row["done"] else "waiting"
        return {**row, "state": state}
    result = read_object(files.result)
    if "macs/fraction" not in result or not {"accuracy", "mIoU"} & set(result):
        raise ValueError(f"expected accuracy (or mIoU) and macs/fraction in {files.result}")
    accuracy = result["mIoU"] if "mIoU" in result else 100 * result["accuracy"]
    return {
        **row,
        "state": "finished",
        "done": files.run.length,
        "percent": accuracy,
        "macs_fraction": result["macs/fraction"],
    }


def print_states(states: list[dict[str, Any]]) -> None:
    rows = [
        [
            state["name"],
            state["state"],
            "" if state["done"] is None else str(state["done"]),
            f"{state['percent']:.2f}" if "percent" in state else "",
            f"{state['macs_fraction']:.3f}" if "percent" in state else "",
        ]
        for state in states
    ]
    header = ["run", "state", "epochs or iterations", "accuracy or mIoU, %", "MACs fraction"]
    print(format_table(header, rows))
    finished = sum(state["state"] == "finished" for state in states)
    print(f"{finished} of {len(states)} finished")


def raise_interrupt(*_: object) -> None:
    """End as with Ctrl-C: the processes are stopped, what they saved stays."""
    raise KeyboardInterrupt


def main() -> None:
    args = parse_args()
    files = files_of(load_plan(args.plan), args)
    runner = PlanRunner(
        files,
        plan_path=args.plan,
        parallel=args.parallel,
        threads=args.threads,
        seconds=None if args.hours is None else 3600 * args.hours,
        report=lambda line: print(line, flush=True),
    )
    stopped = False
    if not args.list:
        signal.signal(signal.SIGTERM, raise_interrupt)
        try:
            runner.run()
        except KeyboardInterrupt:
            stopped = True
    states = [state_of(each, each.run.name in runner.failed) for each in files]
    print_states(states)
    write_json(args.out_json, with_origin({"runs": states}, args.plan))
    if stopped:
        sys.stderr.write("stopped; the same command goes on from the last checkpoints\n")
        sys.exit(130)
    if runner.failed:
        sys.exit(1)


if __name__ == "__main__":
    run_tool(main)
