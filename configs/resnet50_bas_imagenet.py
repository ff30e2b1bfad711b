# ResNet50-BAS on ImageNet: batch-shaping first, then the L0 loss. On several GPUs,
# gather=True ranks the gates in the whole batch, as one GPU does.
#
# Paper: one point of the curve "ResNet50-BAS" of figure 3b (a plot): top-1 74.40 % at the cost
# of the plain ResNet-18, 1.81 G MACs. Table 1: 75.7 % at 2.07 G of 4.11 G MACs and 15.31 M of
# 26.72 M parameters on average. Which gamma gives them is not said, nor which channels are gated.
# Ours: not run.
#
#   python tools/train.py configs/resnet50_bas_imagenet.py
#   bash tools/dist_train.sh configs/resnet50_bas_imagenet.py 4 --cfg-options \
#     train_dataloader.batch_size=64 model.gate_losses.bas.gather=True
#   bash tools/dist_train.sh configs/resnet50_bas_imagenet.py 8 --cfg-options \
#     train_dataloader.batch_size=32 model.gate_losses.bas.gather=True
#
# Knob: gamma, which trades accuracy for MACs; the paper takes
# 0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4:
#   --cfg-options model.gate_losses.l0.loss_weight=0.1
# Where the bottlenecks are gated: model.backbone.gate_positions=both, conv1 or conv2.
_base_ = "resnet18_bas_imagenet.py"
model = dict(backbone=dict(depth=50), head=dict(in_channels=2048))
