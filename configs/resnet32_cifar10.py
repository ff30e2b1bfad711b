# ResNet-32 on CIFAR-10, plain: the baseline of the same code, without gates.
#
# Paper: the point "ResNet32" of figure 3a and 3c (a plot; no number is printed).
# Dense MACs: 68.9 M per image.
# Ours: not run at full length; 20 epochs of 10,000 images of a JPEG copy: results/README.md.
#
#   python tools/train.py configs/resnet32_cifar10.py
_base_ = "resnet20_cifar10.py"
model = dict(backbone=dict(depth=32))
