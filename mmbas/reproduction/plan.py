"""A plan: the runs that answer one question, read from a YAML file.

data: CIFAR-10 (JPEG copy)        # the name of the data in every result
results: results/cifar10-10k-20e      # one JSON file per run
length: 20                        # epochs (or iterations); the config's own if left out
amp: true                         # bfloat16 mixed precision
base: [base/cifar10-10k.yaml]     # files of settings for all runs, beside the plan
overrides: {train_dataloader.num_workers: 0}        # for all runs, after those of base
runs:
  - name: resnet20_bas_gamma{value}
    method: ResNet-20-BAS         # one line in the plot
    config: configs/resnet20_bas_cifar10_folder.py
    vary: {key: model.gate_losses.l0.loss_weight, values: [0.01, 0.05]}
    overrides: {}
    dense: false                  # true: a baseline without gates
    seeds: [0, 1, 2]
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmengine.fileio import load
from yaml import YAMLError

PLAN_KEYS = {"data", "results", "length", "amp", "base", "overrides", "runs"}
RUN_KEYS = {"name", "method", "config", "vary", "overrides", "dense", "seeds", "length"}


@dataclass(frozen=True)
class Run:
    """One training and its test.

    Attributes:
        name: Of its files, unique in the plan.
        method: Runs of one method form a line in the plot.
        config: Path of the config file.
        overrides: Settings that differ from the config, by dotted key.
        seed: Of the random numbers.
        data: Name of the data.
        dense: Whether it is a baseline without gates.
        amp: Whether it trains in mixed precision.
        length: Epochs or iterations; None keeps the config's.
    """

    name: str
    method: str
    config: str
    overrides: dict[str, Any]
    seed: int
    data: str
    dense: bool
    amp: bool
    length: int | None

    def record(self) -> dict[str, Any]:
        """The run as part of its result."""
        return asdict(self)


@dataclass(frozen=True)
class Plan:
    """Runs in the order in which they start, and the folder of their results."""

    runs: list[Run]
    results: Path


def load_plan(path: str | Path) -> Plan:
    """Read a plan.

    Raises:
        ValueError: If the file is none, with what is wrong in it.
    """
    path = Path(path)
    content = _read(path)
    if not isinstance(content, dict) or not {"data", "results", "runs"} <= set(content):
        raise ValueError(f"expected the keys data, results and runs in {path}")
    _refuse_unknown(set(content) - PLAN_KEYS, PLAN_KEYS, str(path))
    overrides = dict(content.get("overrides") or {})
    for name in reversed(content.get("base") or []):
        overrides = {**_read(path.parent / name), **overrides}
    content["overrides"] = overrides
    runs = [run for entry in content["runs"] for run in _runs_of(entry, content, path)]
    names = [run.name for run in runs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"expected each name once in {path}, but got {twice} more than once")
    return Plan(runs, Path(content["results"]))


def _read(path: Path) -> Any:
    if not path.is_file():
        raise ValueError(f"expected a plan at {path}, but there is no such file")
    try:
        return load(path)
    except YAMLError as error:
        raise ValueError(f"expected YAML in {path}, but got: {error}") from error


def _runs_of(entry: dict[str, Any], plan: dict[str, Any], path: Path) -> list[Run]:
    if not {"name", "method", "config"} <= set(entry):
        raise ValueError(f"expected name, method and config of each run in {path}, got {entry}")
    _refuse_unknown(set(entry) - RUN_KEYS, RUN_KEYS, f"{path}, run {entry['name']}")
    vary = entry.get("vary") or {"key": None, "values": [None]}
    if set(vary) != {"key", "values"}:
        raise ValueError(f"expected key and values in vary of {entry['name']}, but got {vary}")
    return [
        Run(
            name=f"{entry['name'].format(value=value)}_seed{seed}",
            method=entry["method"],
            config=entry["config"],
            overrides={
                **plan["overrides"],
                **(entry.get("overrides") or {}),
                **({} if vary["key"] is None else {vary["key"]: value}),
            },
            seed=seed,
            data=plan["data"],
            dense=entry.get("dense", False),
            amp=plan.get("amp", False),
            length=entry.get("length", plan.get("length")),
        )
        for value in vary["values"]
        for seed in entry.get("seeds", [0])
    ]


def _refuse_unknown(unknown: set[str], known: set[str], where: str) -> None:
    if unknown:
        raise ValueError(f"expected the keys {sorted(known)} in {where}, got {sorted(unknown)} too")
