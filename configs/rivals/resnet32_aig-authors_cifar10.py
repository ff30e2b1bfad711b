# ConvNet-AIG, ResNet-32 on CIFAR-10, under its authors' schedule (their code, which trains
# ResNet-110): 350 epochs, SGD without Nesterov, weight decay on gates too.
#
# Paper: none for this network; see resnet32_aig_cifar10.py.
# Departs from the authors: parameter-free shortcuts (theirs are 1x1 convolutions), no noise in
# evaluation (their code has it), the last epoch (theirs is the best one on the test set).
# Ours: not run.
#
#   python tools/train.py configs/rivals/resnet32_aig-authors_cifar10.py
#
# Knob: the share of images for which a block is executed, 0 to 1:
#   --cfg-options model.gate_losses.rate.target=0.7
_base_ = "resnet32_aig_cifar10.py"
optim_wrapper = dict(
    optimizer=dict(nesterov=False),
    paramwise_cfg=dict(_delete_=True, custom_keys={".gate.fc2": dict(lr_mult=2.0, decay_mult=0.5)}),
)
param_scheduler = dict(milestones=[150, 250])
train_cfg = dict(max_epochs=350)
