# SkipNet, ResNet-38 on CIFAR-10, supervised stage, under its authors' schedule: the smallest
# network that they train.
#
# Paper: 92.75 % at 70.3 % of the computation after both stages, counted as told in
# resnet32_skipnet_cifar10.py; the batch-shaping paper plots it in figure 3a.
# Departs from the authors: see resnet32_skipnet-authors_cifar10.py.
# Ours: not run.
#
#   python tools/train.py configs/rivals/resnet38_skipnet-authors_cifar10.py
#
# Knob: see resnet32_skipnet-authors_cifar10.py.
_base_ = "resnet32_skipnet-authors_cifar10.py"
model = dict(backbone=dict(depth=38))
