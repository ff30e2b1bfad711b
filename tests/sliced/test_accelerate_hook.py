"""Tests run accelerated, and training finds its own model again."""

import pytest
import torch
from hooks.runner_case import RandomImages
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.runner import Runner, priority

from mmbas.backbones import GatedResNetCifar
from mmbas.gates import init_gates
from mmbas.registry import HOOKS
from mmbas.sliced import AccelerateHook, SlicedBackbone


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.backbone = GatedResNetCifar(8)
        init_gates(self)

    def forward(self, inputs, mode="tensor"):
        if mode == "predict":
            return [
                dict(sliced=isinstance(self.backbone, SlicedBackbone), out=self.backbone(inputs))
            ]
        return dict(loss_fit=self.backbone(inputs)[0].square().mean())


class Sliced(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results += [sample["sliced"] for sample in data_samples]

    def compute_metrics(self, results):
        return dict(sliced=all(results))


class Interrupt(Hook):
    def before_test_iter(self, runner, batch_idx, data_batch=None):
        raise KeyboardInterrupt


def loader(**arguments):
    return dict(
        dataset=RandomImages(),
        batch_size=4,
        sampler=dict(type="DefaultSampler", shuffle=False),
        collate_fn=dict(type="default_collate"),
        **arguments,
    )


def make_runner(tmp_path, hook):
    torch.manual_seed(0)
    return Runner(
        model=Model(),
        work_dir=str(tmp_path),
        train_dataloader=loader(),
        test_dataloader=loader(),
        test_evaluator=Sliced(),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        test_cfg=dict(),
        custom_hooks=[hook],
        experiment_name=f"accelerate{id(tmp_path)}",
        default_scope="mmengine",
    )


def test_two_tests_then_training_then_a_test(tmp_path):
    runner = make_runner(tmp_path, dict(type="mmbas.AccelerateHook", path="torch"))
    model = runner.model
    assert runner.test() == dict(sliced=True)
    assert runner.model is model
    assert runner.test() == dict(sliced=True)
    before = model.backbone.layer1[0].conv1.weight.clone()
    runner.train()
    assert runner.model is model
    assert isinstance(model.backbone, GatedResNetCifar)
    assert not torch.equal(model.backbone.layer1[0].conv1.weight, before)
    assert runner.test() == dict(sliced=True)


def test_an_interrupted_test_gives_the_model_back(tmp_path):
    runner = make_runner(tmp_path, AccelerateHook(path="torch"))
    model = runner.model
    interrupt = Interrupt()
    runner.register_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        runner.test()
    runner._hooks.remove(interrupt)
    runner.train()
    assert runner.model is model
    assert runner.test() == dict(sliced=True)


def test_it_is_registered_and_runs_last():
    with DefaultScope.overwrite_default_scope("mmengine"):
        hook = HOOKS.build(dict(type="mmbas.AccelerateHook"))
    assert isinstance(hook, AccelerateHook)
    assert priority.get_priority(hook.priority) == priority.Priority.LOWEST.value
