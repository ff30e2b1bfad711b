# Gated PSPNet-R50 on Cityscapes by our recipe, which is not the paper's: it starts from a trained
# plain network with nearly all gates open, is drawn to a target of average MACs, loses its gate
# noise on the way, and ends with statistics of the norm layers gathered anew. Data and length are
# those of MMSegmentation's own training: 40k iterations on 4 GPUs with 2 images each.
#
# Paper: nothing to compare with, the recipe is not the paper's.
# Ours: not run.
#
#   torchrun --nproc_per_node=4 tools/train.py \
#     configs/pspnet_r50_recipe_40k_cityscapes-512x1024.py --launcher pytorch
#
# On one large GPU, the same batch of 8:
#   python tools/train.py configs/pspnet_r50_recipe_40k_cityscapes-512x1024.py \
#     --cfg-options train_dataloader.batch_size=8
#
# The plain network comes from pspnet_r50_bas_40k_cityscapes-512x1024.py made plain, as its header
# says, with --work-dir work_dirs/pspnet_r50_40k_cityscapes-512x1024; MMSegmentation's checkpoint of
# the same network loads too: model.init_cfg.checkpoint=FILE
#
# Knob: the MACs you can afford, as a fraction of the dense ones:
#   --cfg-options model.gate_losses.target.target=0.5
_base_ = [
    "_base_/models/pspnet_r50_recipe.py",
    "_base_/datasets/cityscapes_512x1024.py",
    "_base_/schedules/segmentation_recipe_40k.py",
    "_base_/segmentation_runtime.py",
]
model = dict(
    init_cfg=dict(
        type="Pretrained", checkpoint="work_dirs/pspnet_r50_40k_cityscapes-512x1024/iter_40000.pth"
    )
)
