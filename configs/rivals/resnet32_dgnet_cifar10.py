# DGNet, ResNet-32 on CIFAR-10, under the schedule of the batch-shaping experiments, from the
# trained plain network. No execution path here skips tiles, nor does the authors' code: counted
# MACs are what could be saved.
#
# Paper: no figures for CIFAR-10 are known to us.
# Departs from the authors: 500 epochs of 256 images instead of 300 of 128; the target's share is
# that of the whole network, whose mask networks are in the denominator too; tiles 4, 2 and 2 pixels
# wide as theirs.
# Ours: not run.
#
#   python tools/train.py configs/resnet32_cifar10.py  # once, the plain network
#   python tools/train.py configs/rivals/resnet32_dgnet_cifar10.py
#
# Knob: the MACs you can afford, as a fraction of the dense 68.9 M, and the same for the bounds:
#   --cfg-options model.gate_losses.target.target=0.5 model.gate_losses.bounds.target=0.5
_base_ = [
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/cifar10_500e.py",
    "../_base_/models/rivals/dgnet_cifar.py",
    "../default_runtime.py",
]
