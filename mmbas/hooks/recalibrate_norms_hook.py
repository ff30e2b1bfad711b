"""Gathers the statistics of batch normalisation anew, for the weights and gates that are tested."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import IterBasedTrainLoop

from mmbas.hooks.norm_statistics import recalibrate_norms
from mmbas.registry import HOOKS


@HOOKS.register_module()
class RecalibrateNormsHook(Hook):
    """Calls :func:`recalibrate_norms` with training images, when training ends or a test begins.

    At the end of training the statistics are in the last checkpoint and in the validation that
    follows. The images are those of the training loader, shuffled and augmented as it does; with
    several processes each reads its share.

    Args:
        num_images: At least so many images, in whole batches, >= 1; all of them if there are fewer.
        at_test: Before a test instead of after the last epoch or iteration of training.

    Raises:
        ValueError: If ``num_images`` is out of range; before a test, if the config has no
            ``train_dataloader``.

    Note:
        ``EMAHook`` keeps weights of its own, whose statistics this does not reach in training; use
        ``at_test=True`` with it.
    """

    # After EMAHook (NORMAL) has put its weights in place, before anything is saved or accelerated.
    priority = "BELOW_NORMAL"

    def __init__(self, num_images: int = 2000, *, at_test: bool = False) -> None:
        if num_images < 1:
            raise ValueError(f"expected num_images >= 1, but got {num_images}")
        self.num_images = num_images
        self.at_test = at_test

    def after_train_epoch(self, runner: Any) -> None:
        """Recalibrate after the last epoch."""
        counts_epochs = not isinstance(runner.train_loop, IterBasedTrainLoop)
        if not self.at_test and counts_epochs and self.is_last_train_epoch(runner):
            self._recalibrate(runner, runner.train_dataloader)

    def after_train_iter(
        self,
        runner: Any,
        batch_idx: int,
        data_batch: Any = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Recalibrate after the last iteration, where a loop counts them and saves then."""
        counts_iterations = isinstance(runner.train_loop, IterBasedTrainLoop)
        if not self.at_test and counts_iterations and self.is_last_train_iter(runner):
            self._recalibrate(runner, runner.train_dataloader)

    def before_test_epoch(self, runner: Any) -> None:
        """Recalibrate the weights that are about to be tested."""
        if self.at_test:
            if not runner.cfg.get("train_dataloader"):
                raise ValueError(
                    "expected train_dataloader in the config to recalibrate norm layers on its "
                    "images, but got none; add it, or test without"
                )
            loader = runner.build_dataloader(runner.cfg.train_dataloader, seed=runner.seed)
            self._recalibrate(runner, loader)

    def _recalibrate(self, runner: Any, loader: Any) -> None:
        model = runner.model.module if isinstance(runner.model, BaseTTAModel) else runner.model
        preprocess = (model.module if is_model_wrapper(model) else model).data_preprocessor
        share = -(-self.num_images // get_world_size())
        num_norms = recalibrate_norms(
            model,
            first_batches(loader, share),
            lambda batch: model(**preprocess(batch, True), mode="tensor"),
        )
        runner.logger.info(
            f"statistics of {num_norms} norm layers over {self.num_images} training images"
        )


def first_batches(loader: Iterable[Any], num_images: int) -> Iterator[Any]:
    """The first batches of a loader that hold at least ``num_images`` images."""
    for batch in loader:
        yield batch
        num_images -= len(batch["inputs"])
        if num_images <= 0:
            return
