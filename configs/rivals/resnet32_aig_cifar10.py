# ConvNet-AIG, ResNet-32 on CIFAR-10, under the schedule of the batch-shaping experiments. The
# authors' schedule: resnet32_aig-authors_cifar10.py.
#
# Paper: none for this network. Theirs, abstract: 20 % (ResNet-50) and 38 % (ResNet-101) less
# computation on ImageNet than the plain networks, at better accuracy.
# Departs from the authors: 500 epochs instead of 350, Nesterov momentum, no weight decay on gates,
# parameter-free shortcuts (theirs are 1x1 convolutions), no noise in evaluation (their code draws
# some).
# Ours: not run.
#
#   python tools/train.py configs/rivals/resnet32_aig_cifar10.py
#
# Knob: the share of images for which a block is executed, 0 to 1:
#   --cfg-options model.gate_losses.rate.target=0.7
_base_ = [
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/cifar10_500e.py",
    "../_base_/models/rivals/aig_cifar.py",
    "../default_runtime.py",
]
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={".gate.fc2": dict(lr_mult=2.0, decay_mult=0.0)})
)
