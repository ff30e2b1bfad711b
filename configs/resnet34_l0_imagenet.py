# ResNet34-L0 on ImageNet: the same gates without batch-shaping; gamma rises as it does with it.
#
# Paper: one point of the curve "ResNet34-L0" of figure 8 (a plot; no number is printed). The claim:
# with batch-shaping, resnet34_bas_imagenet.py, accuracy is higher at the same MACs.
# Ours: not run.
#
#   python tools/train.py configs/resnet34_l0_imagenet.py
#   bash tools/dist_train.sh configs/resnet34_l0_imagenet.py 4 --cfg-options \
#     train_dataloader.batch_size=64
#   bash tools/dist_train.sh configs/resnet34_l0_imagenet.py 8 --cfg-options \
#     train_dataloader.batch_size=32
#
# Knob: gamma, which trades accuracy for MACs; the paper takes
# 0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4:
#   --cfg-options model.gate_losses.l0.loss_weight=0.1
_base_ = "resnet18_l0_imagenet.py"
model = dict(backbone=dict(depth=34))
