# ResNet34-BAS on ImageNet with batch-shaping alone: lambda stays at 0.75, no L0 loss. On several
# GPUs, gather=True ranks the gates in the whole batch, as one GPU does.
#
# Paper: table 1, "ResNet34-BAS (Full)", if that is the run with a fixed lambda: top-1 74.0 % at
# 2.92 G of 3.68 G MACs and 17.77 M of 21.91 M parameters on average.
# Ours: not run.
#
#   python tools/train.py configs/resnet34_bas-fixed_imagenet.py
#   bash tools/dist_train.sh configs/resnet34_bas-fixed_imagenet.py 4 --cfg-options \
#     train_dataloader.batch_size=64 model.gate_losses.bas.gather=True
#   bash tools/dist_train.sh configs/resnet34_bas-fixed_imagenet.py 8 --cfg-options \
#     train_dataloader.batch_size=32 model.gate_losses.bas.gather=True
#
# Knob: lambda: --cfg-options model.gate_losses.bas.loss_weight=0.4
_base_ = "resnet34_bas_imagenet.py"
model = dict(gate_losses=dict(l0=None))
custom_hooks = [dict(type="mmbas.GateMonitorHook", interval=50)]
