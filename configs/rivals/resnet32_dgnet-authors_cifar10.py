# DGNet, ResNet-32 on CIFAR-10, under its authors' schedule: 300 epochs of 128 images, learning rate
# 0.1, / 10 at 150 and 225, Nesterov momentum, weight decay 5e-4 but none on masks.
#
# Paper: no figures for CIFAR-10 are known to us.
# Departs from the authors: the last epoch (theirs is the best one on the test set); see also
# resnet32_dgnet_cifar10.py.
# Ours: not run.
#
#   python tools/train.py configs/resnet32_cifar10.py  # once, the plain network
#   python tools/train.py configs/rivals/resnet32_dgnet-authors_cifar10.py
#
# Knob: see resnet32_dgnet_cifar10.py.
_base_ = "resnet32_dgnet_cifar10.py"
train_dataloader = dict(batch_size=128)
param_scheduler = dict(milestones=[150, 225])
train_cfg = dict(max_epochs=300)
auto_scale_lr = dict(base_batch_size=128)
