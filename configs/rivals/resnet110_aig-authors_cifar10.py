# ConvNet-AIG, ResNet-110 on CIFAR-10, under its authors' schedule: the network that they train.
#
# Paper: at a rate of 0.7, 82 % of the layers are executed (quoted in notes on the paper).
# Departs from the authors: see resnet32_aig-authors_cifar10.py.
# Ours: not run.
#
#   python tools/train.py configs/rivals/resnet110_aig-authors_cifar10.py
#
# Knob: the share of images for which a block is executed, 0 to 1:
#   --cfg-options model.gate_losses.rate.target=0.6
_base_ = "resnet32_aig-authors_cifar10.py"
model = dict(backbone=dict(depth=110), gate_losses=dict(rate=dict(target=0.7)))
