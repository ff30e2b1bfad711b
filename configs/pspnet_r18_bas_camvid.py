# Gated PSPNet-R18 on CamVid from scratch, lambda 0.2.
#
# Paper: no number, it has no CamVid. Its claim on Cityscapes is to be tested here: the gated
# network is not worse than the plain one (pspnet_r18_camvid.py) at about three quarters of its
# MACs.
# Ours: not run at this length; 1500 iterations at half the size: results/README.md.
#
#   python tools/train.py configs/pspnet_r18_bas_camvid.py
#
# Knob: lambda: --cfg-options model.gate_losses.bas.loss_weight=0.05
_base_ = [
    "_base_/models/pspnet_r18_bas.py",
    "_base_/datasets/camvid.py",
    "_base_/schedules/segmentation_10k.py",
    "_base_/schedules/gate_monitor.py",
    "_base_/segmentation_runtime.py",
]
model = dict(decode_head=dict(num_classes=11), auxiliary_head=dict(num_classes=11))
