"""Writes docs/configs.md: every experiment of configs/ with the first sentence of its header.

python docs/make_config_page.py
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "configs.md"
# Data sets by the ending of a config's name, in the order of the page.
DATA = {
    "digits": "Handwritten digits",
    "folder": "Your own images",
    "cifar10": "CIFAR-10",
    "imagenet": "ImageNet",
    "camvid": "CamVid",
    "cityscapes": "Cityscapes",
    "coco": "COCO",
    "scenes": "Street scenes, drawn by a program",
    "boxes": "Street scenes, drawn by a program",
}
OTHER = "Others"
RIVALS = "Other methods, in configs/rivals"
MAX_LENGTH = 100  # of a sentence; a longer one ends at its first colon
HEAD = """# All configs

One experiment a line, with what its file says first. Each file goes on with the number of the paper
that it reproduces, ours or "not run", its command, and the knob to vary. Names read as in the
hosts: network, method, length where it is not the usual one, data. Start any of them with
`python tools/train.py` and its path.

This page is written by `python docs/make_config_page.py`.
"""


def first_sentence(path: Path) -> str:
    """First sentence of the comment that a config begins with, without its full stop.

    A long one is cut where it goes into details.

    Raises:
        ValueError: If the file does not begin with a comment.
    """
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("# "):
            break
        lines.append(line.removeprefix("# "))
    if not lines:
        raise ValueError(f"expected {path} to begin with a comment that says what it is")
    sentence = re.split(r"\.(?:\s|$)", " ".join(lines))[0]
    if len(sentence) > MAX_LENGTH:
        sentence = re.split(r"[:;] ", sentence)[0]
    return sentence.replace("|", r"\|").replace("<", "&lt;")


def data_of(name: str) -> str:
    """Title of the data set that a config's name tells."""
    found = [title for word, title in DATA.items() if re.search(rf"[_-]{word}", name)]
    return found[-1] if found else OTHER


def row(path: Path) -> str:
    """Line of the table for a config."""
    return f"| [`{path.stem}`](../{path.relative_to(ROOT)}) | {first_sentence(path)} |"


def page() -> str:
    """Text of the page."""
    rows: dict[str, list[str]] = {title: [] for title in [*DATA.values(), OTHER]}
    for path in sorted((ROOT / "configs").glob("*.py")):
        if path.name != "default_runtime.py":
            rows[data_of(path.stem)].append(row(path))
    rows[RIVALS] = [row(path) for path in sorted((ROOT / "configs" / "rivals").glob("*.py"))]
    tables = [
        "\n".join([f"\n## {title}\n", "| config | what it is |", "|---|---|", *lines, ""])
        for title, lines in rows.items()
        if lines
    ]
    return HEAD + "".join(tables)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
