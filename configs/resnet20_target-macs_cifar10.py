# Gated ResNet-20 on CIFAR-10, drawn to a target of average MACs. Not the paper's recipe: it starts
# from the plain network, prices MACs by their distance to a target instead of gamma, and distills.
#
# Paper: nothing to compare with.
# Ours: not run at full length; 20 epochs of 10,000 images of a JPEG copy: results/README.md.
#
#   python tools/train.py configs/resnet20_cifar10.py  # once, the plain network
#   python tools/train.py configs/resnet20_target-macs_cifar10.py
#
# Knob: the MACs you can afford, as a fraction of the dense ones:
#   --cfg-options model.gate_losses.target.target=0.4
# Afterwards, tools/match_macs.py takes the last point or two to the target.
# Another plain network: model.init_cfg.checkpoint=FILE model.teacher.init_cfg.checkpoint=FILE;
# without one: model.init_cfg=None model.teacher=None
_base_ = [
    "_base_/models/gated_resnet_cifar_target_macs.py",
    "_base_/datasets/cifar10.py",
    "_base_/schedules/cifar10_target_macs_100e.py",
    "default_runtime.py",
]
