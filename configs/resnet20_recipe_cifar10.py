# Gated ResNet-20 on CIFAR-10 by our recipe, which is not the paper's: it starts from the plain
# network with nearly all gates open, learns from the plain ResNet-32, is drawn to a target of
# average MACs, loses its gate noise on the way, and ends with statistics of the norm layers
# gathered anew.
#
# Paper: nothing to compare with; its own training is resnet20_bas_cifar10.py.
# Ours: not run.
#
#   python tools/train.py configs/resnet20_cifar10.py  # once, the plain network
#   python tools/train.py configs/resnet32_cifar10.py  # once, the teacher
#   python tools/train.py configs/resnet20_recipe_cifar10.py
#
# Knob: the MACs you can afford, as a fraction of the dense 40.6 M:
#   --cfg-options model.gate_losses.target.target=0.4
# Other plain networks: model.init_cfg.checkpoint=FILE model.teacher.init_cfg.checkpoint=FILE; the
# network itself as the teacher: model.teacher.backbone.depth=20 and its file.
# Afterwards, tools/match_macs.py takes the last point or two to the target.
_base_ = [
    "_base_/models/gated_resnet_cifar_target_macs.py",
    "_base_/datasets/cifar10.py",
    "_base_/schedules/cifar10_recipe_100e.py",
    "default_runtime.py",
]
model = dict(
    teacher=dict(
        backbone=dict(depth=32),
        init_cfg=dict(checkpoint="work_dirs/resnet32_cifar10/epoch_500.pth"),
    )
)
