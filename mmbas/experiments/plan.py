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

import yaml

PLAN_TYPES: dict[str, type] = {
    "data": str,
    "results": str,
    "length": int,
    "amp": bool,
    "base": list,
    "overrides": dict,
    "runs": list,
}
RUN_TYPES: dict[str, type] = {
    "name": str,
    "method": str,
    "config": str,
    "vary": dict,
    "overrides": dict,
    "dense": bool,
    "seeds": list,
    "length": int,
}


@dataclass(frozen=True)
class Run:
    """One training and its test.

    Attributes:
        name: Name of its files, unique in the plan.
        method: Runs of one method form a line in the plot.
        config: Path of the config file.
        overrides: Settings that differ from the config, by dotted key.
        seed: Seed of the random numbers.
        data: Name of the data.
        dense: True for a baseline without gates.
        amp: True for training in mixed precision.
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
    _check_entries(content, PLAN_TYPES, str(path))
    overrides = dict(content.get("overrides", {}))
    for name in reversed(content.get("base", [])):
        if not isinstance(name, str):
            raise ValueError(f"expected names of files as base of {path}, but got {name!r}")
        settings = _read(path.parent / name)
        if not isinstance(settings, dict):
            raise ValueError(f"expected settings by key in {path.parent / name}")
        overrides = {**settings, **overrides}
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
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"expected YAML in {path}, but got: {error}") from error


def _runs_of(entry: dict[str, Any], plan: dict[str, Any], path: Path) -> list[Run]:
    if not isinstance(entry, dict) or not {"name", "method", "config"} <= set(entry):
        raise ValueError(f"expected name, method and config of each run in {path}, got {entry}")
    _check_entries(entry, RUN_TYPES, f"{path}, run {entry['name']}")
    vary = entry.get("vary", {"key": None, "values": [None]})
    if set(vary) != {"key", "values"} or not (isinstance(vary["values"], list) and vary["values"]):
        raise ValueError(
            f"expected key and a list of values in vary of {entry['name']}, but got {vary}"
        )
    overrides = {**plan["overrides"], **entry.get("overrides", {})}
    if odd := [key for key in overrides if not isinstance(key, str)]:
        raise ValueError(f"expected dotted keys in the overrides of {entry['name']}, got {odd}")
    seeds = entry.get("seeds", [0])
    if not seeds or not all(type(seed) is int for seed in seeds):
        raise ValueError(f"expected whole numbers as seeds of {entry['name']}, but got {seeds}")
    return [
        Run(
            name=f"{_name(entry, value)}_seed{seed}",
            method=entry["method"],
            config=entry["config"],
            overrides=overrides if vary["key"] is None else {**overrides, vary["key"]: value},
            seed=seed,
            data=plan["data"],
            dense=entry.get("dense", False),
            amp=plan.get("amp", False),
            length=entry.get("length", plan.get("length")),
        )
        for value in vary["values"]
        for seed in seeds
    ]


def _name(entry: dict[str, Any], value: Any) -> str:
    template: str = entry["name"]
    braces = template.count("{")
    if braces != ("vary" in entry) or template.count("{value}") != braces:
        raise ValueError(f"expected {{value}} in a name where there is vary, got {template!r}")
    name = template.format(value=value)
    if "/" in name:
        raise ValueError(f"expected a name without /, which is a file's, got {name!r}")
    return name


def _check_entries(entries: dict[str, Any], types: dict[str, type], where: str) -> None:
    if unknown := sorted(map(str, set(entries) - set(types))):
        raise ValueError(f"expected the keys {sorted(types)} in {where}, got {unknown} too")
    for key, value in entries.items():
        if type(value) is not types[key]:  # true is no length
            raise ValueError(
                f"expected {key} of type {types[key].__name__} in {where}, but got {value!r}"
            )
