# Gated Faster R-CNN-R50 on drawn street scenes: everything the COCO experiments use, in minutes on
# 2 CPU cores. It shows that training and testing work, and nothing about accuracy.
#
# Paper: nothing to compare with, this data set is ours.
# Ours: none, it shows no accuracy.
#
#   python tools/make_street_scenes.py data/street_boxes --coco
#   python tools/train.py configs/faster_rcnn_r50_bas_street_boxes.py
#
# Knob: the length of training: --cfg-options train_cfg.max_epochs=12
_base_ = [
    "_base_/models/faster_rcnn_r50_bas.py",
    "_base_/datasets/street_boxes.py",
    "_base_/schedules/detection_12e.py",
    "_base_/schedules/gate_monitor.py",
    "_base_/detection_runtime.py",
]
# No ImageNet weights: all is trained from scratch, statistics of normalisation included. The images
# are small, so fewer proposals are looked at.
model = dict(
    backbone=dict(init_cfg=None, frozen_stages=-1, norm_eval=False),
    roi_head=dict(bbox_head=dict(num_classes=3)),
    train_cfg=dict(
        rpn_proposal=dict(max_per_img=200),
        rcnn=dict(sampler=dict(num=64)),
    ),
    test_cfg=dict(rpn=dict(max_per_img=100)),
)
optim_wrapper = dict(optimizer=dict(lr=0.01), clip_grad=dict(max_norm=10))
param_scheduler = [dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=12)]
train_cfg = dict(max_epochs=3, val_interval=3)
custom_hooks = [dict(type="mmbas.GateMonitorHook", interval=12)]
default_hooks = dict(logger=dict(interval=4))
