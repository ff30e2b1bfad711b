"""Makes a run resumable whatever it was doing when it was killed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.dist import barrier, is_main_process
from mmengine.hooks import CheckpointHook, Hook

from mmbas.hooks.checkpoint_file import is_whole_checkpoint, newest_whole_checkpoint
from mmbas.registry import HOOKS

LAST_CHECKPOINT = "last_checkpoint"  # the file that names what mmengine resumes from


@HOOKS.register_module()
class WholeCheckpointHook(Hook):
    """Resumes from the newest checkpoint that is whole.

    mmengine's ``CheckpointHook`` removes the oldest checkpoint, writes the new one under its final
    name and then its name into the file ``last_checkpoint``. A process that is killed meanwhile
    leaves a checkpoint that was cut off, or a ``last_checkpoint`` that is empty or names a file
    that is cut off or gone. Before a runner resumes by that file, this hook corrects it. Works
    beside the hosts' own hooks and tools::

        custom_hooks = [dict(type="mmbas.WholeCheckpointHook")]

    Note:
        With ``max_keep_ckpts=1`` the only checkpoint is removed before the next one is written; a
        kill between the two leaves nothing to resume from, so the hook warns.
        mmengine's ``FlexibleRunner`` loads before its hooks are called, so it is not helped.
    """

    priority = "VERY_HIGH"

    def before_run(self, runner: Any) -> None:
        """Correct ``last_checkpoint`` if the runner is about to read it."""
        # mmengine's own hooks ask the runner by this attribute too.
        if runner._resume and runner._load_from is None:
            if is_main_process():
                self._correct(Path(runner.work_dir), runner.logger)
            barrier()

    def before_train(self, runner: Any) -> None:
        """Warn where a kill can leave no checkpoint at all."""
        if any(
            isinstance(hook, CheckpointHook) and hook.max_keep_ckpts == 1 for hook in runner.hooks
        ):
            runner.logger.warning(
                "expected max_keep_ckpts >= 2 in default_hooks.checkpoint, but got 1: the only "
                "checkpoint is removed before the next one is written, and a kill loses both"
            )

    @staticmethod
    def _correct(work_dir: Path, logger: Any) -> None:
        record = work_dir / LAST_CHECKPOINT
        named = record.read_text(encoding="utf-8").strip() if record.is_file() else ""
        # Checkpoints elsewhere are not ours to judge; those of sharded models are folders.
        if "://" in named or (named and Path(named).is_dir()) or is_whole_checkpoint(named):
            return
        newest = newest_whole_checkpoint(Path(named).parent if named else work_dir)
        if newest is None:
            if record.exists():
                logger.warning(f"{named or record} is no whole checkpoint, and there is no other")
                record.unlink()
            return
        logger.warning(f"resuming from {newest}: {named or record} is no whole checkpoint")
        partial = record.with_name(LAST_CHECKPOINT + ".partial")
        partial.write_text(str(newest), encoding="utf-8")
        partial.replace(record)
