"""The hook inside a real Runner: what is in the last checkpoint, and what a test sees."""

import copy

import pytest
import torch
from hooks.runner_case import GATE_LOSSES, GatedModel, run

from mmbas.hooks import RecalibrateNormsHook, recalibrate_norms
from mmbas.hooks.recalibrate_norms_hook import first_batches


@pytest.mark.parametrize(
    "arguments", [{}, dict(train_cfg=dict(type="IterBasedTrainLoop", max_iters=4))]
)
def test_the_last_checkpoint_has_the_statistics_of_the_last_weights(tmp_path, arguments):
    hook = dict(type="mmbas.RecalibrateNormsHook", num_images=8)
    runner = run(tmp_path, [hook], model=GatedModel(gate_losses=GATE_LOSSES), **arguments)
    saved = runner.model.state_dict()
    if not arguments:  # runner_case saves epochs
        saved = torch.load(tmp_path / "epoch_3.pth", weights_only=False)["state_dict"]
    model = copy.deepcopy(runner.model)
    recalibrate_norms(model, runner.train_dataloader, lambda batch: model(**batch, mode="tensor"))
    for key, value in model.state_dict().items():
        torch.testing.assert_close(saved[key], value, msg=key)
    log = next(tmp_path.glob("*/*.log")).read_text()
    assert log.count("statistics of 19 norm layers over 8 training images") == 1


def test_whole_batches_until_there_are_enough_images():
    batches = [dict(inputs=[0] * 4) for _ in range(5)]
    assert len(list(first_batches(batches, 8))) == 2
    assert len(list(first_batches(batches, 9))) == 3
    assert len(list(first_batches(batches, 1000))) == 5


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="expected num_images >= 1, but got 0"):
        RecalibrateNormsHook(0)
