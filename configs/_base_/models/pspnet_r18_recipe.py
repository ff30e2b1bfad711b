# PSPNet-R18 of our recipe, which is not the paper's.
_base_ = "pspnet_r50_recipe.py"
model = dict(
    backbone=dict(depth=18),
    decode_head=dict(in_channels=512, channels=128),
    auxiliary_head=dict(in_channels=256, channels=64),
)
