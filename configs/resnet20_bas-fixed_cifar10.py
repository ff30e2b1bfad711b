# ResNet20-BAS on CIFAR-10 with batch-shaping alone: lambda stays at 0.75, no L0 loss.
#
# Paper: the most accurate point of "ResNet20-BAS" in figure 3a, with "a minor reduction in
# computation costs" (section 5; a plot, no number is printed).
# Ours: not run at full length; 20 epochs of 10,000 images of a JPEG copy: results/README.md.
#
#   python tools/train.py configs/resnet20_bas-fixed_cifar10.py
#
# Knob: lambda: --cfg-options model.gate_losses.bas.loss_weight=0.4
_base_ = "resnet20_bas_cifar10.py"
model = dict(gate_losses=dict(l0=None))
custom_hooks = [dict(type="mmbas.GateMonitorHook", interval=50)]
