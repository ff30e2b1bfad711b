# Gated PSPNet-R18 on drawn street scenes: everything the Cityscapes experiments use, in less than a
# minute on 2 CPU cores. It shows that training and testing work, and nothing about accuracy.
#
# Paper: nothing to compare with, this data set is ours.
# Ours: none, it shows no accuracy.
#
#   python tools/make_street_scenes.py data/street_scenes
#   python tools/train.py configs/pspnet_r18_bas_street_scenes.py
#
# Knob: the length of training:
#   --cfg-options train_cfg.max_iters=500 param_scheduler.end=500
_base_ = [
    "_base_/models/pspnet_r18_bas.py",
    "_base_/datasets/street_scenes.py",
    "_base_/schedules/segmentation_150k.py",
    "_base_/schedules/gate_monitor.py",
    "_base_/segmentation_runtime.py",
]
param_scheduler = dict(end=40)
train_cfg = dict(max_iters=40, val_interval=40)
custom_hooks = [dict(type="mmbas.GateMonitorHook", interval=20)]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=40))
