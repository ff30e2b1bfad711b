# ResNet32-L0 on CIFAR-10: the same gates without batch-shaping; gamma rises as it does with it.
#
# Paper: one point of the curve "ResNet32-L0" of figure 3c (a plot; no number is printed). The
# claim: without batch-shaping, the larger network is no better than the smaller one.
# Ours: not run at full length; 20 epochs of 10,000 images of a JPEG copy: results/README.md.
#
#   python tools/train.py configs/resnet32_l0_cifar10.py
#
# Knob: gamma; the paper takes 0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2:
#   --cfg-options model.gate_losses.l0.loss_weight=0.1
_base_ = "resnet20_l0_cifar10.py"
model = dict(backbone=dict(depth=32))
