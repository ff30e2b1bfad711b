"""Which checkpoint files are whole, as a process killed while it writes leaves one that is not."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

# What mmengine's CheckpointHook writes for resuming; best_*.pth and published files are not.
_RESUMABLE = re.compile(r"(epoch|iter)_\d+\.pth")


def is_whole_checkpoint(path: Path | str) -> bool:
    """Whether the file exists and was written to its end.

    The archives that torch writes end with their table of contents. Files in the format of
    torch < 1.6, which cannot be told from their beginnings, count as whole.
    """
    path = Path(path)
    if not path.is_file():  # nor is the empty name, which is the current folder
        return False
    with path.open("rb") as file:
        is_pickle = file.read(1) == b"\x80"
    return is_pickle or zipfile.is_zipfile(path)


def newest_whole_checkpoint(folder: Path | str) -> Path | None:
    """The checkpoint of an epoch or iteration that was written last, of those that are whole."""
    paths = [path for path in Path(folder).glob("*.pth") if _RESUMABLE.fullmatch(path.name)]
    whole = [path for path in paths if is_whole_checkpoint(path)]
    return max(whole, key=lambda path: path.stat().st_mtime_ns, default=None)
