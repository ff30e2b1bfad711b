# ResNet20-BAS on CIFAR-10 with the gated inner representation 10 times as wide.
#
# Paper: one point of the curve of the ResNet-20 widened 10 times, figure 3c (a plot; no number is
# printed). The claim: with a wider choice of features the gated network is more accurate.
# Ours: not run at full length; 20 epochs of 10,000 images of a JPEG copy: results/README.md.
#
#   python tools/train.py configs/resnet20_bas_w10_cifar10.py
#
# Knob: gamma; the paper takes 0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2:
#   --cfg-options model.gate_losses.l0.loss_weight=0.1
_base_ = "resnet20_bas_cifar10.py"
model = dict(backbone=dict(width_factor=10))
