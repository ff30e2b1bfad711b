"""Makes a resumed run draw the random numbers of an uninterrupted one."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import set_random_seed

from mmbas.registry import HOOKS


@HOOKS.register_module()
class SeedPerEpochHook(Hook):
    """Seeds python, numpy, torch and the data-loading workers when an epoch begins.

    Checkpoints hold no states of random number generators, so without this hook a resumed run
    draws other gate noise and other augmentations than an uninterrupted one. Seeds computed from
    the run's seed, the process and the iteration need no storing, while stored states would miss
    all processes but the first, and the workers.

    A run resumed from an epoch's checkpoint then has bitwise the weights of an uninterrupted one.
    That needs ``randomness.seed``, and ``persistent_workers=False`` where there are workers (the
    hook cannot seed running ones). Config, versions, hardware and the numbers of processes, workers
    and threads must stay the same. A GPU needs ``randomness.deterministic=True`` as well.

    Note:
        ``IterBasedTrainLoop`` begins one epoch in each start of training. A resumed run then does
        not repeat the noise of the first iterations, but does not equal an uninterrupted run.
    """

    # Before all others: what they draw when an epoch begins must be repeatable too.
    priority = "VERY_HIGH"

    def before_train(self, runner: Any) -> None:
        """Warn if the workers are out of reach."""
        loader = runner.train_dataloader
        if loader.num_workers > 0 and loader.persistent_workers:
            runner.logger.warning(
                "expected persistent_workers=False in train_dataloader, but got True: a resumed "
                "run will draw other augmentations than an uninterrupted one"
            )

    def before_train_epoch(self, runner: Any) -> None:
        """Seed this process and the workers that are about to start."""
        entropy = np.random.SeedSequence((runner.seed, get_rank(), runner.iter))
        seed = int(entropy.generate_state(1)[0]) >> 1  # workers add their number to it
        set_random_seed(seed)
        # MMEngine's function gives the workers the same seed in every epoch.
        init = runner.train_dataloader.worker_init_fn
        if isinstance(init, partial) and "seed" in init.keywords:
            runner.train_dataloader.worker_init_fn = partial(init, seed=seed)
