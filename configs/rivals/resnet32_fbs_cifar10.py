# Feature boosting and suppression (FBS), ResNet-32 on CIFAR-10, under the schedule of the
# batch-shaping experiments, from the trained plain network.
#
# Paper: none for this network. The authors' code has 90.54 % at 57 M of 174 M MACs for M-CifarNet
# (plain 91.37 %) at a density of 0.5. Every image costs the same.
# Departs from the authors: SGD instead of RMSProp, gates on the inner
# channels of each block only (theirs also gate second convolutions, stem and projections:
# model.backbone.gate_positions=all gates second convolutions too), all gates of a block read its
# input, and normalisation keeps its scale.
# Ours: not run.
#
#   python tools/train.py configs/resnet32_cifar10.py  # once, the plain network
#   python tools/train.py configs/rivals/resnet32_fbs_cifar10.py
#
# Knob: the share of channels that are computed, at the end of the schedule and in evaluation:
#   --cfg-options model.backbone.gate.density=0.7 custom_hooks.0.window.stop=0.7 \
#     custom_hooks.0.window.num_steps=3
_base_ = [
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/cifar10_500e.py",
    "../_base_/models/rivals/fbs_cifar.py",
    "../default_runtime.py",
]
