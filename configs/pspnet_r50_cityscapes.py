# PSPNet-R50 on Cityscapes, plain and from scratch: the baseline of the same code, without gates.
#
# Paper: mIoU 0.706, pixel accuracy 0.929 (section 5, validation set).
# Dense MACs: 1426.2 G per image of 1024x2048.
# Ours: not run.
#
#   python tools/train.py configs/pspnet_r50_cityscapes.py
#
# Knob: the length of training:
#   --cfg-options train_cfg.max_iters=40000 param_scheduler.end=40000
_base_ = [
    "_base_/models/pspnet_r50.py",
    "_base_/datasets/cityscapes_448x672.py",
    "_base_/schedules/segmentation_150k.py",
    "_base_/segmentation_runtime.py",
]
