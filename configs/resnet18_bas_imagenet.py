# ResNet18-BAS on ImageNet: batch-shaping first, then the L0 loss. On several GPUs,
# gather=True ranks the gates in the whole batch, as one GPU does.
#
# Paper: one point of the curve "ResNet18-BAS" of figure 3b (a plot). The highest has top-1
# 70.57 %; the paper says that these have a fixed lambda: resnet18_bas-fixed_imagenet.py.
# Ours: not run.
#
#   python tools/train.py configs/resnet18_bas_imagenet.py
#   bash tools/dist_train.sh configs/resnet18_bas_imagenet.py 4 --cfg-options \
#     train_dataloader.batch_size=64 model.gate_losses.bas.gather=True
#   bash tools/dist_train.sh configs/resnet18_bas_imagenet.py 8 --cfg-options \
#     train_dataloader.batch_size=32 model.gate_losses.bas.gather=True
#
# Knob: gamma, which trades accuracy for MACs; the paper takes
# 0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4:
#   --cfg-options model.gate_losses.l0.loss_weight=0.1
_base_ = [
    "_base_/models/gated_resnet_imagenet.py",
    "_base_/datasets/imagenet.py",
    "_base_/schedules/imagenet_150e.py",
    "_base_/schedules/gate_losses_150e.py",
    "default_runtime.py",
]
