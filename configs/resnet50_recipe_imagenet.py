# Gated ResNet-50 on ImageNet by our recipe, which is not the paper's: it starts from a plain
# network with nearly all gates open, learns from it, is drawn to a target of average MACs, loses
# its gate noise on the way, and ends with statistics of the norm layers gathered anew.
#
# Paper: nothing to compare with; its own recipe is resnet50_bas_imagenet.py.
# Ours: not run.
#
#   python tools/train.py configs/resnet50_recipe_imagenet.py
#   bash tools/dist_train.sh configs/resnet50_recipe_imagenet.py 4 --cfg-options \
#     train_dataloader.batch_size=64 model.gate_losses.bas.gather=True
#   bash tools/dist_train.sh configs/resnet50_recipe_imagenet.py 8 --cfg-options \
#     train_dataloader.batch_size=32 model.gate_losses.bas.gather=True
#
# Afterwards, tools/match_macs.py takes the last point or two to the target.
#
# Knob: the MACs you can afford, as a fraction of the dense 4.09 G:
#   --cfg-options model.gate_losses.target.target=0.5
# A larger teacher: model.teacher.backbone.depth=101 model.teacher.init_cfg.checkpoint=FILE
_base_ = [
    "_base_/models/gated_resnet50_target_macs.py",
    "_base_/datasets/imagenet.py",
    "_base_/schedules/imagenet_recipe_150e.py",
    "default_runtime.py",
]
