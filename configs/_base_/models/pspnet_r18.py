# PSPNet on a dilated ResNet-18, with the widths that MMSegmentation gives it.
_base_ = "pspnet_r50.py"
model = dict(
    backbone=dict(depth=18),
    decode_head=dict(in_channels=512, channels=128),
    auxiliary_head=dict(in_channels=256, channels=64),
)
