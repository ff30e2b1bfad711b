# Gated PSPNet-R18 on CamVid at half its size, 1500 iterations of 4 crops (16 epochs): what a CPU
# trains in about an hour.
#
# Paper: no number, it has no CamVid. Its claim on Cityscapes is tested here: the gated network is
# not worse than the plain one (pspnet_r18_1500_camvid-240x180.py) at about three quarters of its
# MACs.
# Ours: results/README.md.
#
#   python tools/train.py configs/pspnet_r18_bas_1500_camvid-240x180.py --amp
#
# Knob: lambda, and how the loss of the gates is summed up, the better of the two here:
#   --cfg-options model.gate_losses.bas.loss_weight=0.05
#   --cfg-options model.gate_losses.bas.reduction=layer_mean
_base_ = [
    "_base_/models/pspnet_r18_bas.py",
    "_base_/datasets/camvid_240x180.py",
    "_base_/schedules/segmentation_1500.py",
    "_base_/schedules/gate_monitor.py",
    "_base_/segmentation_runtime.py",
]
model = dict(decode_head=dict(num_classes=11), auxiliary_head=dict(num_classes=11))
default_hooks = dict(checkpoint=dict(interval=90))  # about once an epoch
