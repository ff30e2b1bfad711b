# ResNet20-L0 on CIFAR-10: the same gates without batch-shaping; gamma rises as it does with it.
#
# Paper: one point of the curve "ResNet20-L0" of figure 3c (a plot; no number is printed).
# Ours: not run at full length; 20 epochs of 10,000 images of a JPEG copy: results/README.md.
#
#   python tools/train.py configs/resnet20_l0_cifar10.py
#
# Knob: gamma; the paper takes 0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2:
#   --cfg-options model.gate_losses.l0.loss_weight=0.1
_base_ = "resnet20_bas_cifar10.py"
model = dict(gate_losses=dict(bas=None))
custom_hooks = [
    dict(
        type="mmbas.GateLossScheduleHook",
        by_epoch=True,
        windows=dict(l0=dict(begin=100, end=300, start_factor=0.0, end_factor=1.0)),
    ),
    dict(type="mmbas.GateMonitorHook", interval=50),
]
