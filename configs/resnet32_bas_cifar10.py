# ResNet32-BAS on CIFAR-10: batch-shaping first, then the L0 loss.
#
# Paper: one point of the curve "ResNet32-BAS" of figure 3a (a plot; no number is printed). The
# claim: at the MACs of the plain ResNet-20 it is more accurate than the plain ResNet-20.
# Ours: not run at full length; 20 epochs of 10,000 images of a JPEG copy: results/README.md.
#
#   python tools/train.py configs/resnet32_bas_cifar10.py
#
# Knob: gamma; the paper takes 0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2:
#   --cfg-options model.gate_losses.l0.loss_weight=0.1
_base_ = "resnet20_bas_cifar10.py"
model = dict(backbone=dict(depth=32))
