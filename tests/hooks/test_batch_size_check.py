"""A training batch that is too small is found before training, whatever makes the batches."""

import random
import warnings

import numpy as np
import pytest
import torch
from hooks.runner_case import GATE_LOSSES, GatedModel, RandomImages, run
from mmengine.registry import DATA_SAMPLERS
from mmengine.runner import Runner
from torch.utils.data import BatchSampler

MONITOR = [dict(type="mmbas.GateMonitorHook")]


@DATA_SAMPLERS.register_module()
class TwoBuckets:
    """Even and odd numbers in batches of their own; the rests of both come together at the end."""

    def __init__(self, sampler, batch_size, drop_last=False):
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last
        self.buckets = [[], []]
        self.epochs = 0

    def __len__(self):
        return -(-len(self.sampler) // self.batch_size)

    def __iter__(self):
        self.epochs += 1
        random.random()  # draws from what training draws from
        np.random.rand()
        for i in self.sampler:
            bucket = self.buckets[i % 2]
            bucket.append(i)
            if len(bucket) == self.batch_size:
                yield bucket[:]
                del bucket[:]
        rest = self.buckets[0] + self.buckets[1]
        self.buckets = [[], []]
        for begin in range(0, len(rest), self.batch_size):
            batch = rest[begin : begin + self.batch_size]
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch


@DATA_SAMPLERS.register_module()
class FirstAlone:
    """Knows neither drop_last nor its length; the first batch is one image."""

    def __init__(self, sampler, batch_size):
        self.order, self.batch_size = list(sampler), batch_size

    def __len__(self):
        return 2

    def __iter__(self):
        yield self.order[:1]
        yield self.order[1:]


class Grouped(BatchSampler):
    """A batch sampler of torch's kind that makes other batches than torch's."""

    def __iter__(self):
        yield [0, 1, 2]
        yield [3, 4]


def train(tmp_path, num_images, batch_sampler=None, **loader):
    runner = Runner(
        model=GatedModel(gate_losses=GATE_LOSSES),
        work_dir=str(tmp_path),
        train_dataloader=dict(
            dataset=RandomImages(num_images),
            sampler=dict(type="DefaultSampler", shuffle=True),
            collate_fn=dict(type="default_collate"),
            **({} if batch_sampler is None else dict(batch_sampler=batch_sampler)),
            **{"batch_size": 4, **loader},
        ),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.01)),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        custom_hooks=MONITOR,
        experiment_name=tmp_path.name,
        default_scope="mmengine",
    )
    runner.train()
    return runner


def test_the_hosts_batch_samplers_are_looked_into(tmp_path):
    message = (
        r"expected at least 2 images .* but got 1 in the last batch of an epoch \(9 images in "
        r"batches of 4\); set train_dataloader\.batch_sampler\.drop_last=True or another "
        r"train_dataloader\.batch_size"
    )
    with pytest.raises(ValueError, match=message):
        train(tmp_path, 9, dict(type="TwoBuckets"))


def test_the_advice_works(tmp_path):
    runner = train(tmp_path, 9, dict(type="TwoBuckets", drop_last=True))
    assert runner.iter == 2
    batches = runner.train_dataloader.batch_sampler
    assert batches.epochs == 1  # the check ran through a copy
    assert batches.sampler.dataset is runner.train_dataloader.dataset


def test_batches_of_one_image_have_other_advice(tmp_path):
    with pytest.raises(ValueError, match=r"but got 1 in each; raise train_dataloader\.batch_size"):
        train(tmp_path, 3, dict(type="TwoBuckets"), batch_size=1)


def test_a_batch_sampler_that_knows_no_drop_last(tmp_path):
    with pytest.raises(ValueError, match=r"but got 1 in .*; set another train_dataloader\."):
        train(tmp_path, 6, dict(type="FirstAlone"))


def test_a_subclass_of_torchs_is_judged_by_what_it_gives(tmp_path):
    warnings.simplefilter("ignore")
    runner = train(tmp_path, 5, dict(type=Grouped, drop_last=False))
    assert runner.iter == 2


def test_the_check_draws_no_random_numbers_of_the_training(tmp_path):
    for i, num_images in enumerate((8, 8)):
        torch.manual_seed(0)
        random.seed(0)
        np.random.seed(0)
        if i == 0:
            states = []
        from mmbas.hooks.batch_size_check import refuse_small_batches

        loader = Runner.build_dataloader(
            dict(
                dataset=RandomImages(num_images),
                sampler=dict(type="DefaultSampler", shuffle=True),
                batch_sampler=dict(type="TwoBuckets"),
                batch_size=4,
            )
        )
        model = GatedModel(gate_losses=GATE_LOSSES)
        if i == 1:
            refuse_small_batches(type("Run", (), dict(model=model, train_dataloader=loader)))
        states.append((random.random(), np.random.rand(), torch.rand(()).item()))
    assert states[0] == states[1]


def test_torchs_own_batches(tmp_path):
    with pytest.raises(ValueError, match=r"but got 1 .* set train_dataloader\.drop_last=True or"):
        train(tmp_path, 9)
    assert run(tmp_path / "whole", MONITOR).iter == 12
