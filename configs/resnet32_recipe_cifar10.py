# Gated ResNet-32 on CIFAR-10 by our recipe: resnet20_recipe_cifar10.py, started from the plain
# ResNet-32, which is its teacher too.
#
# Paper: nothing to compare with; its own training is resnet32_bas_cifar10.py. Its claim is judged
# here as well: at the MACs of the plain ResNet-20, 59 % of the dense ones, more accurate than that.
# Ours: not run.
#
#   python tools/train.py configs/resnet32_cifar10.py  # once, the plain network
#   python tools/train.py configs/resnet32_recipe_cifar10.py
#
# Knob: the MACs you can afford, as a fraction of the dense 68.9 M:
#   --cfg-options model.gate_losses.target.target=0.4
_base_ = "resnet20_recipe_cifar10.py"
model = dict(
    backbone=dict(depth=32),
    init_cfg=dict(checkpoint="work_dirs/resnet32_cifar10/epoch_500.pth"),
    gate_losses=dict(target=dict(target=0.58)),
)
