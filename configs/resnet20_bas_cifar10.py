# ResNet20-BAS on CIFAR-10: batch-shaping first, then the L0 loss.
#
# Paper: one point of the curve "ResNet20-BAS" of figure 3a (a plot; no number is printed).
# Ours: not run at full length; 20 epochs of 10,000 images of a JPEG copy: results/README.md.
#
#   python tools/train.py configs/resnet20_bas_cifar10.py
#
# Knob: gamma, which trades accuracy for MACs; the paper takes 0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2:
#   --cfg-options model.gate_losses.l0.loss_weight=0.1
_base_ = [
    "_base_/models/gated_resnet_cifar.py",
    "_base_/datasets/cifar10.py",
    "_base_/schedules/cifar10_500e.py",
    "_base_/schedules/gate_losses_500e.py",
    "default_runtime.py",
]
