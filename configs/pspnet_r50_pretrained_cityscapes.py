# PSPNet-R50 on Cityscapes, plain, its backbone from ImageNet weights.
#
# Paper: mIoU 0.739, pixel accuracy 0.9446 (validation set).
# Ours: not run.
#
#   python tools/train.py configs/pspnet_r50_pretrained_cityscapes.py
#
# Knob: the weights, a file with the same stem (three 3x3 convolutions, "V1c"):
#   --cfg-options model.backbone.init_cfg.checkpoint=FILE
_base_ = "pspnet_r50_cityscapes.py"
model = dict(
    backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="open-mmlab://resnet50_v1c"))
)
