# Gated PSPNet-R50 on Cityscapes from ImageNet weights with less batch-shaping, lambda 0.05.
#
# Paper: mIoU 0.747, pixel accuracy 0.948 at 95 % of the MACs (validation set), the best of its
# Cityscapes results.
# Ours: not run.
#
#   python tools/train.py configs/pspnet_r50_bas_pretrained_lambda0.05_cityscapes.py
#
# Knob: lambda: --cfg-options model.gate_losses.bas.loss_weight=0.1
_base_ = "pspnet_r50_bas_pretrained_cityscapes.py"
model = dict(gate_losses=dict(bas=dict(loss_weight=0.05)))
