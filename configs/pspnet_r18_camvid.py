# PSPNet-R18 on CamVid, plain and from scratch: the baseline of the same code, without gates.
#
# Paper: nothing to compare with, it has no CamVid.
# Dense MACs: 35.7 G per image of 360x480.
# Ours: not run at this length; 1500 iterations at half the size: results/README.md.
#
#   python tools/train.py configs/pspnet_r18_camvid.py
#
# Knob: the length of training:
#   --cfg-options train_cfg.max_iters=2000 param_scheduler.end=2000
_base_ = [
    "_base_/models/pspnet_r18.py",
    "_base_/datasets/camvid.py",
    "_base_/schedules/segmentation_10k.py",
    "_base_/segmentation_runtime.py",
]
model = dict(decode_head=dict(num_classes=11), auxiliary_head=dict(num_classes=11))
