"""Trains one config to its end while it is killed again and again; run by test_kill_harness.py.

``python tests/kill_harness.py CONFIG WORK_DIR KILLS SEED LONGEST`` prints one line of JSON: of each
start the moment it was to be killed at, its exit code and its seconds. Every start is a fork of
this process, which has imported everything, and runs ``tools/train.py CONFIG --work-dir WORK_DIR``,
with ``--resume`` once there is a whole checkpoint, until SIGKILL:

- ``time``: after a random time of at most LONGEST seconds;
- ``write``: in the middle of writing a checkpoint, after a random share of its bytes;
- ``record``: when ``last_checkpoint`` has been emptied and not yet written.
"""

from __future__ import annotations

import builtins
import io
import json
import os
import random
import runpy
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import mmpretrain.models  # noqa: F401  imported before the forks
import torch
from mmengine.fileio.backends import LocalBackend

import mmbas.models
import mmbas.optim  # noqa: F401
from mmbas.hooks.checkpoint_file import latest_checkpoint

MOMENTS = ("time", "write", "record")


def kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_while_writing(share: float) -> None:
    """Kill when ``share`` of the next checkpoint is on disk."""

    def put(self: LocalBackend, obj: bytes | io.BytesIO, filepath: str | Path) -> None:
        data = obj if isinstance(obj, bytes) else obj.getvalue()
        with Path(filepath).open("wb") as file:
            file.write(data[: int(len(data) * share)])
        kill_this_process()

    LocalBackend.put = put


def kill_while_recording() -> None:
    """Kill when the file that names the last checkpoint has just been opened for writing."""
    real_open = builtins.open

    def opening(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        opened = real_open(file, mode, *args, **kwargs)
        if str(file).endswith("last_checkpoint") and mode == "w":
            kill_this_process()
        return opened

    builtins.open = opening


def train(config: str, work_dir: str, moment: str, share: float) -> None:
    """The child: train in silence until the end, or until it is killed."""
    silence = os.open(os.devnull, os.O_WRONLY)
    log = os.open(str(Path(work_dir).with_suffix(".err")), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(silence, 1)
    os.dup2(log, 2)
    if moment == "write":
        kill_while_writing(share)
    elif moment == "record":
        kill_while_recording()
    # A first checkpoint that was cut off is refused by --resume, and written again without.
    resume = ["--resume"] if latest_checkpoint(work_dir) else []
    sys.argv = ["tools/train.py", config, "--work-dir", work_dir, *resume]
    runpy.run_path("tools/train.py", run_name="__main__")


def start(config: str, work_dir: str, moment: str, share: float, longest: float) -> list[Any]:
    """One start; its moment, its exit code, negative for a signal, and its seconds."""
    begin = time.perf_counter()
    child = os.fork()
    if child == 0:
        try:
            train(config, work_dir, moment, share)
            os._exit(0)
        finally:  # reached with an exception only
            traceback.print_exc()
            os._exit(1)
    if moment == "time":
        time.sleep(longest * share)
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return [moment, code, time.perf_counter() - begin]


def main(config: str, work_dir: str, kills: int, seed: int, longest: float) -> None:
    torch.set_num_threads(1)
    generator = random.Random(seed)
    starts = []
    for _ in range(kills):
        moment, share = generator.choice(MOMENTS), generator.random()
        starts.append(start(config, work_dir, moment, share, longest))
    starts.append(start(config, work_dir, "none", 0.0, longest))
    print(json.dumps(starts))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]))
