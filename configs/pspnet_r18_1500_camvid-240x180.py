# Plain PSPNet-R18 on CamVid at half its size, 1500 iterations of 4 crops (16 epochs): the baseline
# of pspnet_r18_bas_1500_camvid-240x180.py.
#
# Paper: no number, it has no CamVid.
# Ours: results/README.md.
#
#   python tools/train.py configs/pspnet_r18_1500_camvid-240x180.py --amp
#
# Knob: the length of training:
#   --cfg-options train_cfg.max_iters=3000 train_cfg.val_interval=3000 param_scheduler.end=3000
_base_ = [
    "_base_/models/pspnet_r18.py",
    "_base_/datasets/camvid_240x180.py",
    "_base_/schedules/segmentation_1500.py",
    "_base_/segmentation_runtime.py",
]
model = dict(decode_head=dict(num_classes=11), auxiliary_head=dict(num_classes=11))
default_hooks = dict(checkpoint=dict(interval=90))  # about once an epoch
