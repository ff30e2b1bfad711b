# ResNet-50 on ImageNet, plain: the baseline of the same code, without gates.
#
# Paper: top-1 76.1 %, 25.55 M parameters, 4.09 G MACs (table 1).
# Ours: not run.
#
#   python tools/train.py configs/resnet50_imagenet.py
#   bash tools/dist_train.sh configs/resnet50_imagenet.py 4 --cfg-options \
#     train_dataloader.batch_size=64
#   bash tools/dist_train.sh configs/resnet50_imagenet.py 8 --cfg-options \
#     train_dataloader.batch_size=32
_base_ = "resnet18_imagenet.py"
model = dict(backbone=dict(depth=50), head=dict(in_channels=2048))
