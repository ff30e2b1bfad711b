"""Random numbers of an epoch depend on seed, process and iteration, and on nothing before."""

import logging
import random
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import DataLoader, Dataset

from mmbas.hooks import SeedPerEpochHook

HOOK = dict(type="mmbas.SeedPerEpochHook")


def draw() -> tuple[float, float, float]:
    """One number of each generator."""
    return random.random(), float(np.random.rand()), float(torch.rand(()))


class Augmented(Dataset):
    """Images that are nothing but augmentation."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return dict(inputs=torch.tensor([index, *draw()]))


class Noisy(BaseModel):
    """Trains on noise, as a gated network does, and remembers all of it."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(4))
        self.seen = []

    def forward(self, inputs, mode="tensor"):
        noise = torch.rand(len(inputs), 1)
        self.seen += torch.cat([torch.stack(inputs), noise], dim=1).tolist()
        return dict(loss=(self.weight * (torch.stack(inputs) + noise)).sum())


def train(work_dir, *, num_workers=0, hook=HOOK, **resume):
    """Train 3 epochs of 4 iterations; returns the model."""
    model = Noisy()
    Runner(
        model=model,
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=Augmented(),
            sampler=dict(type="DefaultSampler", shuffle=True),
            batch_size=2,
            num_workers=num_workers,
        ),
        train_cfg=dict(by_epoch=True, max_epochs=3),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1, momentum=0.9)),
        custom_hooks=[hook] if hook else [],
        randomness=dict(seed=3),
        experiment_name="_".join(work_dir.parts[-2:]),
        default_scope="mmengine",
        log_level="WARNING",
        **resume,
    ).train()
    return model


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_resumed_run_draws_the_numbers_of_an_uninterrupted_one(tmp_path, num_workers):
    whole = train(tmp_path, num_workers=num_workers)
    checkpoint = str(tmp_path / "epoch_1.pth")
    rest = train(tmp_path / "rest", num_workers=num_workers, resume=True, load_from=checkpoint)

    assert len(whole.seen) == 24
    assert rest.seen == whole.seen[8:]
    assert torch.equal(rest.weight, whole.weight)


def test_without_the_hook_it_does_not(tmp_path):
    whole = train(tmp_path, hook=None)
    checkpoint = str(tmp_path / "epoch_1.pth")
    rest = train(tmp_path / "rest", hook=None, resume=True, load_from=checkpoint)

    indices = [[row[0] for row in rows] for rows in (rest.seen, whole.seen[8:])]
    assert indices[0] == indices[1]
    assert not set(map(tuple, rest.seen)) & set(map(tuple, whole.seen[8:]))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_no_epoch_repeats_the_numbers_of_another(tmp_path, num_workers):
    # With MMEngine's own seeding each worker would draw the same numbers in every epoch.
    seen = np.array(train(tmp_path, num_workers=num_workers).seen)
    for generator in range(1, seen.shape[1]):
        assert len(np.unique(seen[:, generator])) == len(seen)


def drawn_at(*, seed=0, rank=0, iteration=0, monkeypatch):
    """Numbers that a process draws after the hook."""
    monkeypatch.setattr("mmbas.hooks.seed_per_epoch_hook.get_rank", lambda: rank)
    loader = DataLoader(Augmented())
    SeedPerEpochHook().before_train_epoch(
        SimpleNamespace(seed=seed, iter=iteration, train_dataloader=loader)
    )
    return draw()


def test_seed_process_and_iteration_all_count(monkeypatch):
    draws = [
        drawn_at(seed=seed, rank=rank, iteration=iteration, monkeypatch=monkeypatch)
        for seed in (0, 1)
        for rank in (0, 1)
        for iteration in (0, 1, 100)
    ]
    for numbers in zip(*draws, strict=True):
        assert len(set(numbers)) == len(draws)
    assert drawn_at(seed=1, rank=1, iteration=100, monkeypatch=monkeypatch) == draws[-1]


@pytest.mark.parametrize("seeded", [False, True])
def test_a_worker_init_fn_keeps_all_but_its_seed(seeded):
    given = partial(print, end="", **(dict(seed=0) if seeded else {}))
    loader = DataLoader(Augmented(), worker_init_fn=given)
    runner = SimpleNamespace(seed=0, iter=0, train_dataloader=loader)
    SeedPerEpochHook().before_train_epoch(runner)

    kept = loader.worker_init_fn
    assert kept.func is print
    assert kept.keywords["end"] == ""
    assert kept.keywords.keys() == given.keywords.keys()
    assert kept.keywords.get("seed") != 0


@pytest.mark.parametrize(("num_workers", "persistent"), [(0, False), (1, False), (1, True)])
def test_persistent_workers_are_warned_about(caplog, num_workers, persistent):
    loader = DataLoader(Augmented(), num_workers=num_workers, persistent_workers=persistent)
    runner = SimpleNamespace(train_dataloader=loader, logger=logging.getLogger("seed_test"))
    SeedPerEpochHook().before_train(runner)
    expected = "expected persistent_workers=False in train_dataloader, but got True"
    assert (expected in caplog.text) == persistent
