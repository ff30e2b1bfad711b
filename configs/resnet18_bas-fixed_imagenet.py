# ResNet18-BAS on ImageNet with batch-shaping alone: lambda stays at 0.75, no L0 loss. On several
# GPUs, gather=True ranks the gates in the whole batch, as one GPU does.
#
# Paper: top-1 70.57 %, the highest of the curve "ResNet18-BAS" of figure 3b. The paper says that
# the highest points have a fixed lambda; the MACs are not printed.
# Ours: not run.
#
#   python tools/train.py configs/resnet18_bas-fixed_imagenet.py
#   bash tools/dist_train.sh configs/resnet18_bas-fixed_imagenet.py 4 --cfg-options \
#     train_dataloader.batch_size=64 model.gate_losses.bas.gather=True
#   bash tools/dist_train.sh configs/resnet18_bas-fixed_imagenet.py 8 --cfg-options \
#     train_dataloader.batch_size=32 model.gate_losses.bas.gather=True
#
# Knob: lambda: --cfg-options model.gate_losses.bas.loss_weight=0.4
_base_ = "resnet18_bas_imagenet.py"
model = dict(gate_losses=dict(l0=None))
custom_hooks = [dict(type="mmbas.GateMonitorHook", interval=50)]
