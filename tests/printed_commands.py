"""Commands and code as README, docs/ and the tools' help print them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from source_tree import ROOT

TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(python (?:tools|demo|docs|benchmarks)/[^`]*)`")
OWN_SCRIPT = re.compile(r"python (?:tools|demo|docs|benchmarks)/\w+\.py\b")


class Block(NamedTuple):
    """A fenced block of a text: its file, its first line, its language and its lines."""

    text: str
    line: int
    language: str
    content: str

    @property
    def place(self) -> str:
        return f"{self.text}:{self.line}"


def blocks() -> Iterator[Block]:
    """All fenced blocks; directives of the site's builder are none."""
    for path in TEXTS:
        content = path.read_text(encoding="utf-8")
        for match in FENCE.finditer(content):
            line = content[: match.start()].count("\n") + 1
            yield Block(str(path.relative_to(ROOT)), line, match[1], match[2])


def shell_lines(content: str) -> Iterator[str]:
    """The commands of a block, continued lines joined, comments taken off."""
    for line in content.replace("\\\n", " ").splitlines():
        command = re.sub(r"\s+#.*", "", line).strip()
        if command:
            yield re.sub(r"\s+", " ", command)


def commands() -> dict[str, str]:
    """Every command of an own script with the place where it is printed first.

    Optional parts in brackets are taken as given.
    """
    found: dict[str, str] = {}
    for block in blocks():
        if block.language == "":
            for line in shell_lines(block.content):
                if OWN_SCRIPT.match(line):
                    found.setdefault(re.sub(r"[][]", "", line), block.place)
    for path in TEXTS:
        content = path.read_text(encoding="utf-8")
        for match in INLINE.finditer(FENCE.sub("", content)):
            command = re.sub(r"[][]", "", " ".join(match[1].split()))
            found.setdefault(command, str(path.relative_to(ROOT)))
    return found


def script_of(command: str) -> str:
    """The script that a command runs."""
    return shlex.split(command)[1]
