# In the style of SGAD, ResNet-32 on CIFAR-10, under the schedule of the batch-shaping experiments.
#
# Paper: only its abstract was available to us (arXiv 1807.01430). It has 77 % fewer FLOPs than
# ResNet-32 at less than one point of CIFAR-10 accuracy.
# Departs from the paper, as far as the abstract tells it: from there are that residual blocks are
# dropped image by image, guided softly by something that is computed from the input image. Ours are
# the guideline network (a narrow ResNet-8), that an open block is scaled by its gate's probability,
# binary concrete gates, the loss that draws to a share of the MACs, and the schedule.
# Ours: not run.
#
#   python tools/train.py configs/rivals/resnet32_sgad-style_cifar10.py
#
# Knob: the MACs you can afford, as a fraction of the dense ones:
#   --cfg-options model.gate_losses.target.target=0.3
_base_ = [
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/cifar10_500e.py",
    "../_base_/models/rivals/sgad-style_cifar.py",
    "../default_runtime.py",
]
