# Gated PSPNet-R50 on Cityscapes from scratch: the batch-shaping loss with a fixed lambda of 0.2.
#
# Paper: mIoU 0.719, pixel accuracy 0.935 at 76.3 % of the MACs (validation set); the plain network
# of pspnet_r50_cityscapes.py has 0.706 and 0.929.
# Ours: not run.
#
#   python tools/train.py configs/pspnet_r50_bas_cityscapes.py
#
# On two GPUs, 3 images each:
#   torchrun --nproc_per_node=2 tools/train.py configs/pspnet_r50_bas_cityscapes.py \
#     --launcher pytorch --cfg-options train_dataloader.batch_size=3
#
# Knob: lambda, how strongly gates are made conditional:
#   --cfg-options model.gate_losses.bas.loss_weight=0.05
_base_ = [
    "_base_/models/pspnet_r50_bas.py",
    "_base_/datasets/cityscapes_448x672.py",
    "_base_/schedules/segmentation_150k.py",
    "_base_/schedules/gate_monitor.py",
    "_base_/segmentation_runtime.py",
]
