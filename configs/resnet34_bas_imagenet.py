# ResNet34-BAS on ImageNet: batch-shaping first, then the L0 loss. On several GPUs,
# gather=True ranks the gates in the whole batch, as one GPU does.
#
# Paper: one point of the curve "ResNet34-BAS" of figure 3b (a plot): top-1 72.55 % at the cost
# of the plain ResNet-18, 1.81 G MACs. Table 1: 72.8 % at 1.67 G of 3.68 G MACs and 9.15 M of
# 21.91 M parameters on average. Which gamma gives them is not said.
# Ours: not run.
#
#   python tools/train.py configs/resnet34_bas_imagenet.py
#   bash tools/dist_train.sh configs/resnet34_bas_imagenet.py 4 --cfg-options \
#     train_dataloader.batch_size=64 model.gate_losses.bas.gather=True
#   bash tools/dist_train.sh configs/resnet34_bas_imagenet.py 8 --cfg-options \
#     train_dataloader.batch_size=32 model.gate_losses.bas.gather=True
#
# Knob: gamma, which trades accuracy for MACs; the paper takes
# 0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4:
#   --cfg-options model.gate_losses.l0.loss_weight=0.1
_base_ = "resnet18_bas_imagenet.py"
model = dict(backbone=dict(depth=34))
