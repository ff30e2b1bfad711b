"""A schedule keeps its proportions at another length."""

import pytest
from helpers import CONFIGS
from mmengine.config import Config

from mmbas.experiments.schedule_length import scale_schedule


def test_cifar10_in_60_epochs():
    # 500 -> 60 epochs: 300, 375, 450 become 36, 45, 54; the windows 0-100 and 100-300 become 0-12
    # and 12-36.
    config = Config.fromfile(CONFIGS / "resnet20_bas_cifar10.py")
    scaled = scale_schedule(config, 60)
    assert scaled.train_cfg.max_epochs == 60
    assert scaled.param_scheduler.milestones == [36, 45, 54]
    windows = scaled.custom_hooks[0].windows
    assert (windows.bas.begin, windows.bas.end) == (0, 12)
    assert (windows.l0.begin, windows.l0.end) == (12, 36)
    assert windows.l0.end_factor == 1.0
    assert config.train_cfg.max_epochs == 500  # the given one is as it was
    assert config.custom_hooks[0].windows.l0.end == 300


def test_milestones_are_rounded_and_windows_are_not():
    config = Config.fromfile(CONFIGS / "resnet20_bas_cifar10.py")
    scaled = scale_schedule(config, 8)  # 300, 375, 450 -> 4.8, 6, 7.2
    assert scaled.param_scheduler.milestones == [5, 6, 7]
    assert scaled.custom_hooks[0].windows.bas.end == pytest.approx(1.6)
    assert scaled.train_cfg.val_interval == 1


def test_the_window_of_the_gate_noise():
    window = dict(begin=40, end=70, start_factor=1.0, end_factor=0.0)
    config = Config.fromfile(CONFIGS / "resnet20_bas_cifar10.py")
    config.custom_hooks.append(dict(type="mmbas.GateNoiseScheduleHook", window=window))
    scaled = scale_schedule(config, 50)  # of 500
    assert scaled.custom_hooks[-1].window == {**window, "begin": 4, "end": 7}
    assert scaled.custom_hooks[0].windows.bas.end == 10


def test_iterations():
    config = Config.fromfile(CONFIGS / "pspnet_r18_bas_camvid.py")
    scaled = scale_schedule(config, 1000)
    assert scaled.train_cfg.max_iters == 1000
    assert scaled.train_cfg.val_interval == 200
    assert (scaled.param_scheduler.begin, scaled.param_scheduler.end) == (0, 1000)
    assert scaled.param_scheduler.power == 0.9


def test_several_schedulers():
    config = Config(
        dict(
            train_cfg=dict(max_epochs=100),
            param_scheduler=[
                dict(type="LinearLR", begin=0, end=10),
                dict(type="CosineAnnealingLR", begin=10, end=100, T_max=90),
            ],
        )
    )
    first, second = scale_schedule(config, 20).param_scheduler
    assert (first.begin, first.end) == (0, 2)
    assert (second.begin, second.end, second.T_max) == (2, 20, 18)


def test_bad_lengths():
    config = Config(dict(train_cfg=dict(max_epochs=100), param_scheduler=[]))
    with pytest.raises(ValueError, match="at least 1, but got 0"):
        scale_schedule(config, 0)
    config.train_cfg = dict(by_epoch=True)
    with pytest.raises(ValueError, match="expected max_epochs or max_iters"):
        scale_schedule(config, 10)
