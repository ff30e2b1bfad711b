# ConvNet-AIG, ResNet-50 on ImageNet, under its authors' schedule (their code): 100 epochs, learning
# rate / 10 every 30, SGD without Nesterov, weight decay on gates too.
#
# Paper: see resnet50_aig_imagenet.py.
# Departs from the authors: no noise in evaluation (their code has it), no gates where their rate is
# 1, the last epoch (theirs is the best one on the validation set).
# Ours: not run.
#
#   python tools/train.py configs/rivals/resnet50_aig-authors_imagenet.py
#   bash tools/dist_train.sh configs/rivals/resnet50_aig-authors_imagenet.py 4 --cfg-options \
#     train_dataloader.batch_size=64
#
# Knob: see resnet50_aig_imagenet.py.
_base_ = "resnet50_aig_imagenet.py"
optim_wrapper = dict(
    optimizer=dict(nesterov=False),
    paramwise_cfg=dict(_delete_=True, custom_keys={".gate.fc2": dict(lr_mult=2.0, decay_mult=0.5)}),
)
param_scheduler = dict(milestones=[30, 60, 90])
train_cfg = dict(max_epochs=100)
