# Feature boosting and suppression (FBS), ResNet-32 on CIFAR-10, with the optimizer of its authors'
# code: RMSProp, learning rate 0.01, lowered by a factor every 200 epochs.
#
# Paper: none for this network; see resnet32_fbs_cifar10.py.
# Departs from the authors: the factor and the number of epochs are not known to us (here 0.1 and
# 600); placement as in resnet32_fbs_cifar10.py.
# Ours: not run.
#
#   python tools/train.py configs/resnet32_cifar10.py  # once, the plain network
#   python tools/train.py configs/rivals/resnet32_fbs-authors_cifar10.py
#
# Knob: see resnet32_fbs_cifar10.py.
_base_ = "resnet32_fbs_cifar10.py"
optim_wrapper = dict(optimizer=dict(_delete_=True, type="RMSprop", lr=0.01, weight_decay=5e-4))
param_scheduler = dict(milestones=[200, 400])
train_cfg = dict(max_epochs=600)
