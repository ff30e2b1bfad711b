# Gated PSPNet-R50 on CamVid from scratch, lambda 0.2; it wants a GPU.
#
# Paper: no number, it has no CamVid; the network is that of its Cityscapes results.
# Ours: not run.
#
#   python tools/train.py configs/pspnet_r50_bas_camvid.py
#
# Knob: lambda: --cfg-options model.gate_losses.bas.loss_weight=0.05
# For the plain network: --cfg-options model.backbone.gate=None model.gate_losses.bas=None
_base_ = [
    "_base_/models/pspnet_r50_bas.py",
    "_base_/datasets/camvid.py",
    "_base_/schedules/segmentation_10k.py",
    "_base_/schedules/gate_monitor.py",
    "_base_/segmentation_runtime.py",
]
model = dict(decode_head=dict(num_classes=11), auxiliary_head=dict(num_classes=11))
