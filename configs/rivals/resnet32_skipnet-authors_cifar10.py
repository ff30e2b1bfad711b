# SkipNet, ResNet-32 on CIFAR-10, supervised stage, under its authors' schedule: 64,000 iterations
# (164 epochs) of 128 images, learning rate 0.1, / 10 at 32,000 and 48,000, weight decay 1e-4.
#
# Paper: none for this network; see resnet32_skipnet_cifar10.py.
# Departs from the authors: parameter-free shortcuts (theirs are 1x1 convolutions); epochs instead
# of batches drawn anew.
# Ours: not run.
#
#   python tools/train.py configs/rivals/resnet32_skipnet-authors_cifar10.py
#
# Knob: see resnet32_skipnet_cifar10.py; for the second stage after this one, name its checkpoint:
#   python tools/train.py configs/rivals/resnet32_skipnet-rl_cifar10.py \
#     --cfg-options model.init_cfg.checkpoint=FILE
_base_ = "resnet32_skipnet_cifar10.py"
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(
    optimizer=dict(nesterov=False, weight_decay=1e-4), paramwise_cfg=dict(_delete_=True)
)
param_scheduler = dict(milestones=[82, 123])
train_cfg = dict(max_epochs=164)
auto_scale_lr = dict(base_batch_size=128)
