"""Makes a run resumable whatever it was doing when it was killed, and wherever it was moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmengine.hooks import CheckpointHook, Hook

from mmbas.hooks.checkpoint_file import record_checkpoint_to_resume
from mmbas.registry import HOOKS


@HOOKS.register_module()
class WholeCheckpointHook(Hook):
    """Resumes from the newest checkpoint that is whole.

    mmengine's ``CheckpointHook`` removes the oldest checkpoint, writes the new one under its final
    name and then its path into the file ``last_checkpoint``. A process that is killed meanwhile
    leaves a checkpoint that was cut off, or a ``last_checkpoint`` that is empty or names a file
    that is cut off or gone. After the folder was renamed or copied it names a file elsewhere.
    Before a runner resumes by that file, this hook corrects it; see
    :func:`mmbas.hooks.checkpoint_file.checkpoint_to_resume`. Works beside the hosts' own hooks and
    tools::

        custom_hooks = [dict(type="mmbas.WholeCheckpointHook")]

    Raises:
        ValueError: Before anything is trained or overwritten, if there are checkpoints but none is
            whole.

    Note:
        With ``max_keep_ckpts=1`` the only checkpoint is removed before the next one is written. A
        kill between the two leaves nothing to resume from, so the hook warns.
        mmengine's ``FlexibleRunner`` loads before its hooks are called; ``tools/train.py`` corrects
        the file for it.
    """

    priority = "VERY_HIGH"

    def before_run(self, runner: Any) -> None:
        """Correct ``last_checkpoint`` if the runner is about to read it."""
        # mmengine's own hooks ask the runner by this attribute too.
        if runner._resume and runner._load_from is None:
            found = record_checkpoint_to_resume(runner.work_dir)
            runner.logger.info(f"resuming from {found or 'nothing: no checkpoint was saved yet'}")

    def before_train(self, runner: Any) -> None:
        """Warn where a kill can leave no checkpoint at all, and leave other runs' files alone."""
        hooks = [hook for hook in runner.hooks if isinstance(hook, CheckpointHook)]
        if any(hook.max_keep_ckpts == 1 for hook in hooks):
            runner.logger.warning(
                "expected max_keep_ckpts >= 2 in default_hooks.checkpoint, but got 1: the only "
                "checkpoint is removed before the next one is written, and a kill loses both"
            )
        if all(hook.out_dir in (None, runner.work_dir) for hook in hooks):
            keep_best_in(Path(runner.work_dir), runner.message_hub)


def keep_best_in(work_dir: Path, message_hub: Any) -> None:
    """Let the run's best checkpoints be those in ``work_dir``.

    A checkpoint stores where the best one lies, and ``CheckpointHook`` removes that file for a
    better one. In a copied folder it would be the file of the run that was copied.
    """
    stored = message_hub.runtime_info
    for key in [key for key in stored if key.startswith("best_ckpt")]:
        own = work_dir / Path(str(stored[key])).name
        if own.exists():
            message_hub.update_info(key, str(own))
        else:
            del stored[key]
