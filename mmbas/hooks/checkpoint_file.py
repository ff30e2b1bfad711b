"""Finds the newest checkpoint of a training, and the one that it goes on from.

Two things make that less than obvious. A process that is killed while it writes leaves a file that
is not whole, or a record that names a file that is gone. And a folder of checkpoints is renamed or
copied: then the record names the old folder, and the files' times say nothing about their order.
"""

from __future__ import annotations

import os
import re
import zipfile
from pathlib import Path

from mmengine.runner import CheckpointLoader

# mmengine's CheckpointHook writes the path of its last checkpoint into a file of this name.
LAST_CHECKPOINT = "last_checkpoint"

# What mmengine's CheckpointHook writes for resuming; best_*.pth and published files are not.
_NUMBERED = re.compile(r"(epoch|iter)_(\d+)\.pth")


def is_whole_checkpoint(path: Path | str) -> bool:
    """Tell whether the file exists and was written to its end.

    The archives that torch writes end with their table of contents. Files in the format of
    torch < 1.6, which cannot be told from their beginnings, count as whole.
    """
    path = Path(path)
    if not path.is_file():  # nor is the empty name, which is the current folder
        return False
    with path.open("rb") as file:
        is_pickle = file.read(1) == b"\x80"
    return is_pickle or zipfile.is_zipfile(path)


def checkpoint_number(path: Path | str) -> tuple[str, int] | None:
    """Unit (``'epoch'`` or ``'iter'``) and number of a checkpoint by its name.

    None for other names, such as those of best and of published checkpoints.

    Example:
        >>> checkpoint_number("work_dirs/run/epoch_012.pth")
        ('epoch', 12)
    """
    match = _NUMBERED.fullmatch(Path(path).name)
    return None if match is None else (match[1], int(match[2]))


def newest_whole_checkpoint(folder: Path | str) -> Path | None:
    """The whole checkpoint with the highest number in its name; None if there is none.

    Numbers of epochs and of iterations cannot be compared. Where a folder holds both, the newest
    of each kind are compared by the iterations that are stored in them.
    """
    newest: dict[str, tuple[int, str]] = {}
    for path in Path(folder).glob("*.pth"):
        if (step := checkpoint_number(path)) and is_whole_checkpoint(path):
            unit, number = step
            newest[unit] = max(newest.get(unit, (-1, "")), (number, path.name))
    paths = [Path(folder) / name for _, name in newest.values()]
    return max(paths, key=_stored_iterations) if len(paths) > 1 else next(iter(paths), None)


def _stored_iterations(path: Path) -> int:
    checkpoint = CheckpointLoader.load_checkpoint(str(path), map_location="cpu", logger="silent")
    return int(checkpoint.get("meta", {}).get("iter", 0))


def latest_checkpoint(work_dir: Path | str) -> Path | None:
    """The whole checkpoint in ``work_dir`` that its training wrote last; None if there is none.

    That is the one whose name the record notes, else the one with the highest number. Only
    the name in the record counts, so a folder may be renamed or copied. The record goes before the
    numbers, since a folder may hold higher ones of an earlier, longer training.
    """
    name = Path(_recorded(work_dir)).name
    named = Path(work_dir) / name
    # Sharded models have folders as checkpoints, which cannot be checked.
    if name not in ("", "..") and (named.is_dir() or is_whole_checkpoint(named)):
        return named
    return newest_whole_checkpoint(work_dir)


def checkpoint_to_resume(work_dir: Path | str) -> str | None:
    """Path or URL of the checkpoint that a training in ``work_dir`` goes on from.

    None if nothing was saved yet, so that the training starts from scratch. Checkpoints in
    ``work_dir`` itself come first. Where it has none, the record may name one elsewhere, as
    ``CheckpointHook`` with ``out_dir`` writes it; a URL is believed.

    Raises:
        ValueError: If there are checkpoints, or was one by the record, but none is whole.
    """
    recorded = _recorded(work_dir)
    if "://" in recorded:
        return recorded
    if found := latest_checkpoint(work_dir):
        return str(found)
    others = sorted(path.name for path in Path(work_dir).glob("*.pth"))
    if others:
        raise ValueError(
            f"expected a whole checkpoint in {work_dir} to resume from, but got only "
            f"{', '.join(others)}, which were cut off or hold no state of a training; name another "
            "one with --resume CHECKPOINT, or move these away to start from scratch"
        )
    if not recorded or Path(recorded).is_dir() or is_whole_checkpoint(recorded):
        return recorded or None
    if found := newest_whole_checkpoint(Path(recorded).parent):
        return str(found)
    raise ValueError(
        f"expected the checkpoint {recorded}, which {Path(work_dir) / LAST_CHECKPOINT} names, to "
        "resume from, but there is no such file or it was cut off; name another one with "
        f"--resume CHECKPOINT, or remove {LAST_CHECKPOINT} to start from scratch"
    )


def record_checkpoint_to_resume(work_dir: Path | str) -> str | None:
    """Let the record name :func:`checkpoint_to_resume`, which is returned.

    mmengine resumes from what the record names. It is replaced as a whole, never removed.

    Raises:
        ValueError: See :func:`checkpoint_to_resume`; the record stays as it is.
    """
    found = checkpoint_to_resume(work_dir)
    if found is not None and found != _recorded(work_dir):
        record = Path(work_dir) / LAST_CHECKPOINT
        partial = record.with_name(f"{LAST_CHECKPOINT}.{os.getpid()}.partial")
        partial.write_text(found, encoding="utf-8")
        partial.replace(record)
    return found


def _recorded(work_dir: Path | str) -> str:
    """Name in the record in ``work_dir``; empty if it is not there or was cut off."""
    record = Path(work_dir) / LAST_CHECKPOINT
    if not record.is_file():
        return ""
    return record.read_text(encoding="utf-8", errors="replace").strip("\0 \t\r\n")
