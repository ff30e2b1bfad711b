"""Tables in a Markdown file, made from the JSON files of results.

A table stands between two comments and is written anew from the files of its folder:

    <!-- results: cifar10-10k-20e -->
    <!-- end -->
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmbas.analysis.tradeoff import point_name

BEGIN = "<!-- results: "
MARKED = re.compile(r"(<!-- results: (\S+) -->\n).*?(<!-- end -->)", flags=re.DOTALL)

# Column title, key of the result, factor, decimals.
Column = tuple[str, str, float, int]
CLASSIFICATION: list[Column] = [("accuracy, %", "accuracy", 100, 2)]
SEGMENTATION: list[Column] = [("mIoU, %", "mIoU", 1, 2), ("pixel accuracy, %", "aAcc", 1, 2)]
COMMON: list[Column] = [
    ("MACs, M", "macs/average", 1e-6, 1),
    ("MACs, % of dense", "macs/fraction", 100, 1),
    ("gates conditional, %", "gates/conditional", 100, 1),
    ("always on, %", "gates/always_on", 100, 1),
    ("always off, %", "gates/always_off", 100, 1),
]


def load_results(folder: Path) -> list[dict[str, Any]]:
    """The results in a folder, in the order of their names.

    Raises:
        ValueError: If there is none.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise ValueError(f"expected results (*.json) in {folder}, but there are none")
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths]


def markdown_table(results: Sequence[dict[str, Any]]) -> str:
    """One row per setting: the mean over its seeds, and the range where there are several."""
    columns = (SEGMENTATION if "mIoU" in results[0] else CLASSIFICATION) + COMMON
    points: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        points.setdefault(point_name(str(result["name"])), []).append(result)
    header = ["run", "method", "seeds", *(title for title, *_ in columns)]
    rows = [header, ["---"] * 3 + ["---:"] * len(columns)]
    for name, repeats in points.items():
        seeds = ", ".join(str(result["seed"]) for result in repeats)
        cells = [
            _cell([result.get(key) for result in repeats], factor, decimals)
            for _, key, factor, decimals in columns
        ]
        rows.append([f"`{name}`", repeats[0]["method"], seeds, *cells])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cell(values: Sequence[float | None], factor: float, decimals: int) -> str:
    given = [value * factor for value in values if value is not None]
    if not given:
        return "-"
    mean, low, high = (
        f"{value:.{decimals}f}" for value in (sum(given) / len(given), min(given), max(given))
    )
    return mean if low == high else f"{mean} ({low} to {high})"


def update_tables(text: str, results: Path) -> str:
    """The text with each marked table made from the files in ``results / folder``.

    Raises:
        ValueError: If a table has no end, or a folder no results.
    """
    if text.count(BEGIN) != len(MARKED.findall(text)):
        raise ValueError(f"expected '<!-- end -->' after each '{BEGIN}FOLDER -->'")
    return MARKED.sub(
        lambda match: (
            match[1] + "\n" + markdown_table(load_results(results / match[2])) + "\n" + match[3]
        ),
        text,
    )
