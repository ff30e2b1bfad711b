# DGNet, ResNet-50 on ImageNet, under its authors' schedule: 100 epochs from the trained plain
# network, learning rate 0.05, cosine, Nesterov momentum, weight decay 1e-4 but none on masks.
#
# Paper: the authors' readme, top-1/top-5 at 1.65 G MACs: 76.41/93.05 %, at 1.31 G: 75.12/92.34 %.
# Departs from the authors: tiles are those of their code, but in bottlenecks all gates read the
# block's input; the target's share is that of the whole network.
# Ours: not run.
#
#   python tools/train.py configs/resnet50_imagenet.py  # once, the plain network
#   python tools/train.py configs/rivals/resnet50_dgnet_imagenet.py
#   bash tools/dist_train.sh configs/rivals/resnet50_dgnet_imagenet.py 4 --cfg-options \
#     train_dataloader.batch_size=64
#
# Knob: the MACs you can afford, as a fraction of the dense ones, and the same for the bounds:
#   --cfg-options model.gate_losses.target.target=0.5 model.gate_losses.bounds.target=0.5
_base_ = "resnet18_dgnet_imagenet.py"
model = dict(
    backbone=dict(depth=50),
    head=dict(in_channels=2048),
    init_cfg=dict(checkpoint="work_dirs/resnet50_imagenet/epoch_150.pth"),
)
