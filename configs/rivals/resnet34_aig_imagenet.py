# ConvNet-AIG, ResNet-34 on ImageNet, under the schedule of the batch-shaping experiments.
#
# Paper: the batch-shaping paper's rerun, its table 1: top-1 72.2 % at 2.73 G of 3.66 G MACs and
# 73.2 % at 3.52 G. The authors of the method have no ResNet-34.
# Departs from the authors' ResNet-50: 150 epochs instead of 100, Nesterov momentum, no weight decay
# on gates, one rate for all blocks.
# Ours: not run.
#
#   python tools/train.py configs/rivals/resnet34_aig_imagenet.py
#   bash tools/dist_train.sh configs/rivals/resnet34_aig_imagenet.py 4 --cfg-options \
#     train_dataloader.batch_size=64
#
# Knob: the share of images for which a block is executed, 0 to 1:
#   --cfg-options model.gate_losses.rate.target=0.6
_base_ = [
    "../_base_/datasets/imagenet.py",
    "../_base_/schedules/imagenet_150e.py",
    "../_base_/models/rivals/aig_imagenet.py",
    "../default_runtime.py",
]
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={".gate.fc2": dict(lr_mult=2.0, decay_mult=0.0)})
)
