# ResNet-20 on CIFAR-10, plain: the baseline of the same code, without gates.
#
# Paper: the point "ResNet20" of figure 3a and 3c (a plot; no number is printed).
# Dense MACs: 40.6 M per image.
# Ours: not run at full length; 20 epochs of 10,000 images of a JPEG copy: results/README.md.
#
#   python tools/train.py configs/resnet20_cifar10.py
#
# Knob: the depth, 20, 32, 44, 56 or 110: --cfg-options model.backbone.depth=44
_base_ = [
    "_base_/models/resnet_cifar.py",
    "_base_/datasets/cifar10.py",
    "_base_/schedules/cifar10_500e.py",
    "default_runtime.py",
]
