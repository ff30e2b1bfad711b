# ResNet20-BAS on the handwritten digits of scikit-learn: the network and losses of
# resnet20_bas_cifar10.py on 1438 real images in a few minutes. `make quickstart` runs it.
#
# Paper: nothing to compare with, this data set is ours.
#
#   python tools/train.py configs/resnet20_bas_digits.py
#
# Knob: gamma, which trades accuracy for MACs: --cfg-options model.gate_losses.l0.loss_weight=0.1
_base_ = [
    "_base_/models/gated_resnet_cifar.py",
    "_base_/datasets/digits.py",
    "_base_/schedules/digits_40e.py",
    "default_runtime.py",
]
default_hooks = dict(
    logger=dict(interval=23),  # once an epoch
    checkpoint=dict(interval=10, max_keep_ckpts=2),
)
