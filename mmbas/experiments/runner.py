"""Runs a plan: several processes at once, resumable at any moment."""

from __future__ import annotations

import fcntl
import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

from mmbas.experiments.run_state import ROOT, RunFiles, run_config

POLL_SECONDS = 0.5
SECONDS_TO_END = 30.0  # after that a process that was asked to end is killed


class PlanRunner:
    """Trains and tests the unfinished runs of a plan.

    A run is a process of its own that writes a checkpoint at the end of each epoch, so that
    killing it, or the runner, at any moment loses at most one epoch. Configs that count iterations
    save as often as their checkpoint hook says. A lock on the run's folder, which the process
    inherits, keeps a second runner from starting it again meanwhile.

    Args:
        files: Files of the runs, in the order in which they start.
        plan_path: Named in the results as part of the command.
        parallel: Number of runs at once.
        threads: CPU threads of each.
        seconds: After that time the processes are stopped; None never.
        report: Called with a line of text when something starts or ends.

    Attributes:
        failed: Names of the runs that failed so far.
    """

    def __init__(
        self,
        files: Sequence[RunFiles],
        *,
        plan_path: str,
        parallel: int = 1,
        threads: int = 1,
        seconds: float | None = None,
        report: Callable[[str], None],
    ) -> None:
        if parallel < 1 or threads < 1:
            raise ValueError(
                f"expected at least 1 process of 1 thread, but got {parallel} of {threads}"
            )
        if seconds is not None and not seconds >= 0:  # nan is refused too
            raise ValueError(f"expected a time of at least 0 s, but got {seconds:g}")
        self.files = files
        self.plan_path = plan_path
        self.parallel = parallel
        self.threads = threads
        self.deadline = None if seconds is None else time.monotonic() + seconds
        self.report = report
        self.stop = threading.Event()
        self.failed: list[str] = []

    def run(self) -> None:
        """Run what is unfinished until all is done or the time is over.

        A run that fails, also by an error of the file system, does not stop the others.

        Raises:
            ValueError: If a result has other settings or a config does not fit, before any starts.
        """
        waiting = [files for files in self.files if not files.finished()]
        for files in waiting:
            run_config(files.run)  # what shows without building anything shows before hours of work
        with ThreadPoolExecutor(self.parallel) as pool:
            try:  # before the first run starts: leaving the pool waits for those that run
                futures = [pool.submit(self._run_one, files) for files in waiting]
                for future in futures:
                    # A signal just before a wait is seen after it, so that none may last long.
                    while wait([future], POLL_SECONDS).not_done:
                        pass
                    future.result()
            except BaseException:
                self.stop.set()
                raise

    def _run_one(self, files: RunFiles) -> None:
        if self._out_of_time():
            return
        try:
            self._run_locked(files)
        except (OSError, ValueError) as error:
            self._fails(files.run.name, f": {error}")

    def _fails(self, name: str, reason: str) -> None:
        self.failed.append(name)
        self.report(f"{name}: failed{reason}")

    def _run_locked(self, files: RunFiles) -> None:
        name = files.run.name
        files.work_dir.mkdir(parents=True, exist_ok=True)
        with (files.work_dir / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.report(f"{name}: another process is at it")
                return
            if files.finished():  # by another process, since this one began
                return
            files.prepare()
            self.report(f"{name}: from {files.done()}")
            for command in (files.train_command, files.test_command):
                if not self._process(command(), files, lock.fileno()):
                    if self._out_of_time():
                        self.report(f"{name}: stopped at {files.done()}")
                    else:
                        self._fails(name, f", see {files.log}")
                    return
            files.write_result(self.plan_path)
        self.report(f"{name}: done")

    def _process(self, command: list[str], files: RunFiles, lock: int) -> bool:
        """Run a command to its end or the deadline; whether it succeeded."""
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(self.threads),
            "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        }
        with files.log.open("ab") as log:
            process = subprocess.Popen(
                [command[0], str(ROOT / command[1]), *command[2:]],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=[lock],
                cwd=Path.cwd(),
            )
            try:
                while process.poll() is None and not self._out_of_time():
                    time.sleep(POLL_SECONDS)
            finally:
                if process.poll() is None:
                    process.terminate()
                    try:
                        process.wait(SECONDS_TO_END)
                    except subprocess.TimeoutExpired:
                        process.kill()
                        process.wait()
        return process.returncode == 0

    def _out_of_time(self) -> bool:
        over = self.deadline is not None and time.monotonic() >= self.deadline
        return over or self.stop.is_set()
