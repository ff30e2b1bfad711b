# GaterNet, ResNet-20 on CIFAR-10, under the schedule of the batch-shaping experiments: the
# network, its gater and its gates as in the code that its authors published.
#
# Paper: its tables were not available to us. The gater alone costs 40.6 M MACs, 100 % of the
# plain ResNet-20, so no setting of the gates makes this network cheap.
# Departs from the authors: their weight of the l1 loss and their schedule are not known to us (here
# 0.1 and 500 epochs); no weight decay on the layers that make gates.
# Ours: not run.
#
#   python tools/train.py configs/rivals/resnet20_gaternet_cifar10.py
#
# Knob: the price of an open gate:
#   --cfg-options model.gate_losses.l1.loss_weight=0.5
_base_ = [
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/cifar10_500e.py",
    "../_base_/models/rivals/gaternet_cifar.py",
    "../default_runtime.py",
]
model = dict(backbone=dict(depth=20))
