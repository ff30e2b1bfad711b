# Gated ResNet-50 on ImageNet, drawn to a target of average MACs. Not the paper's recipe: it starts
# from a plain network, prices MACs by their distance to a target instead of gamma, and distills.
#
# Paper: nothing to compare with; its own recipe is resnet50_bas_imagenet.py. (F. Li et al.: Dynamic
# Dual Gating Neural Networks, ICCV 2021, report 76.4 % at 1.65 G MACs with another kind of gates.)
# Ours: not run.
#
#   python tools/train.py configs/resnet50_target-macs_imagenet.py
#   bash tools/dist_train.sh configs/resnet50_target-macs_imagenet.py 4 --cfg-options \
#     train_dataloader.batch_size=64 model.gate_losses.bas.gather=True
#   bash tools/dist_train.sh configs/resnet50_target-macs_imagenet.py 8 --cfg-options \
#     train_dataloader.batch_size=32 model.gate_losses.bas.gather=True
#
# Afterwards, tools/match_macs.py takes the last point or two to the target.
#
# Knob: the MACs you can afford, as a fraction of the dense 4.09 G:
#   --cfg-options model.gate_losses.target.target=0.5
_base_ = [
    "_base_/models/gated_resnet50_target_macs.py",
    "_base_/datasets/imagenet.py",
    "_base_/schedules/imagenet_target_macs_150e.py",
    "default_runtime.py",
]
