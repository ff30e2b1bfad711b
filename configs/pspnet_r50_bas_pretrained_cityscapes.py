# Gated PSPNet-R50 on Cityscapes, its backbone from ImageNet weights without gates; lambda 0.2.
#
# Paper: mIoU 0.744, pixel accuracy 0.946 at 76.5 % of the MACs (validation set); the plain network
# of pspnet_r50_pretrained_cityscapes.py has 0.739 and 0.9446.
# Ours: not run.
#
#   python tools/train.py configs/pspnet_r50_bas_pretrained_cityscapes.py
#
# Knob: lambda; pspnet_r50_bas_pretrained_lambda0.05_cityscapes.py has the paper's other value.
_base_ = "pspnet_r50_bas_cityscapes.py"
model = dict(
    backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="open-mmlab://resnet50_v1c"))
)
