# ResNet-18 on ImageNet, plain: the baseline of the same code, without gates.
#
# Paper: top-1 69.76 % (table 1: 69.7), 11.69 M parameters, 1.81 G MACs (table 1).
# Ours: not run.
#
#   python tools/train.py configs/resnet18_imagenet.py
#   bash tools/dist_train.sh configs/resnet18_imagenet.py 4 --cfg-options \
#     train_dataloader.batch_size=64
#   bash tools/dist_train.sh configs/resnet18_imagenet.py 8 --cfg-options \
#     train_dataloader.batch_size=32
_base_ = [
    "_base_/models/resnet_imagenet.py",
    "_base_/datasets/imagenet.py",
    "_base_/schedules/imagenet_150e.py",
    "default_runtime.py",
]
