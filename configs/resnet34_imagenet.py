# ResNet-34 on ImageNet, plain: the baseline of the same code, without gates.
#
# Paper: top-1 73.3 %, 21.79 M parameters, 3.66 G MACs (table 1).
# Ours: not run.
#
#   python tools/train.py configs/resnet34_imagenet.py
#   bash tools/dist_train.sh configs/resnet34_imagenet.py 4 --cfg-options \
#     train_dataloader.batch_size=64
#   bash tools/dist_train.sh configs/resnet34_imagenet.py 8 --cfg-options \
#     train_dataloader.batch_size=32
_base_ = "resnet18_imagenet.py"
model = dict(backbone=dict(depth=34))
