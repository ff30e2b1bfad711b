# LAUDNet, mode "layer", ResNet-32 on CIFAR-10, under the schedule of the batch-shaping experiments,
# from the trained plain network.
#
# Paper: it has no CIFAR-10.
# Departs from the authors: basic blocks (theirs are bottlenecks), 500 epochs of 256 images instead
# of 100 of 1024, learning rate 0.1 in steps instead of 0.08 cosine, weight decay 5e-4 and none on
# gates instead of 5e-5 on all.
# Ours: not run.
#
#   python tools/train.py configs/resnet32_cifar10.py  # once, the plain network
#   python tools/train.py configs/rivals/resnet32_laud-layer_cifar10.py
#
# Knob: the MACs you can afford, as a fraction of the dense 68.9 M, and the same for the bounds:
#   --cfg-options model.gate_losses.target.target=0.6 model.gate_losses.bounds.target=0.6
_base_ = [
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/cifar10_500e.py",
    "../_base_/models/rivals/laud-layer_cifar.py",
    "../default_runtime.py",
]
