# SkipNet, ResNet-32 on CIFAR-10, second stage: gates are drawn and learn by policy gradient what
# they saved and what it cost, from the network of the supervised stage.
#
# Paper: see resnet32_skipnet_cifar10.py.
# Departs from the authors: epochs of all images instead of 10,000 batches of 128 drawn anew (here
# 26 epochs of 256, as many images), no weight decay on gates.
# Ours: not run.
#
#   python tools/train.py configs/rivals/resnet32_skipnet_cifar10.py  # once, the supervised stage
#   python tools/train.py configs/rivals/resnet32_skipnet-rl_cifar10.py
#
# Knob: the price of a block:
#   --cfg-options model.gate_losses.policy.alpha=0.2
_base_ = "resnet32_skipnet_cifar10.py"
model = dict(
    init_cfg=dict(type="Pretrained", checkpoint="work_dirs/resnet32_skipnet_cifar10/epoch_500.pth"),
    backbone=dict(gate=dict(sampler=dict(type="mmbas.Bernoulli"))),
    gate_losses=dict(
        policy=dict(type="mmbas.PolicyGradientLoss", alpha=0.1, task_share=1.0, loss_weight=0.01)
    ),
)
optim_wrapper = dict(optimizer=dict(lr=1e-4))
param_scheduler = dict(milestones=[])
train_cfg = dict(max_epochs=26)
