# PSPNet-R18 with gates and the batch-shaping loss.
_base_ = "pspnet_r50_bas.py"
model = dict(
    backbone=dict(depth=18),
    decode_head=dict(in_channels=512, channels=128),
    auxiliary_head=dict(in_channels=256, channels=64),
)
