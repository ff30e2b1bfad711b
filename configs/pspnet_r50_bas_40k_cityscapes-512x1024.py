# Gated PSPNet-R50 on Cityscapes after MMSegmentation's own recipe, which is stronger than the
# paper's: a larger crop, more augmentation, ImageNet weights, 40k iterations on 4 GPUs with 2
# images each.
#
# Paper: nothing to compare with, the recipe is not the paper's. MMSegmentation's model zoo gives
# the plain network a mIoU of 77.85 % (validation set, single-scale).
# Ours: not run.
#
#   torchrun --nproc_per_node=4 tools/train.py configs/pspnet_r50_bas_40k_cityscapes-512x1024.py \
#     --launcher pytorch
#
# On one large GPU, the same batch of 8:
#   python tools/train.py configs/pspnet_r50_bas_40k_cityscapes-512x1024.py \
#     --cfg-options train_dataloader.batch_size=8
#
# Knob: lambda: --cfg-options model.gate_losses.bas.loss_weight=0.05
# For the plain network: --cfg-options model.backbone.gate=None model.gate_losses.bas=None
_base_ = [
    "_base_/models/pspnet_r50_bas.py",
    "_base_/datasets/cityscapes_512x1024.py",
    "_base_/schedules/segmentation_40k.py",
    "_base_/schedules/gate_monitor.py",
    "_base_/segmentation_runtime.py",
]
model = dict(
    backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="open-mmlab://resnet50_v1c"))
)
