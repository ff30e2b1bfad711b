# DGNet, ResNet-18 on ImageNet, under its authors' schedule: 100 epochs from the trained plain
# network, learning rate 0.05, cosine, Nesterov momentum, weight decay 1e-4 but none on masks.
#
# Paper: the authors' readme, top-1/top-5 at 0.954 G MACs: 70.12/89.22 %, at 0.788 G: 69.38/88.94 %.
# Departs from the authors: tiles are those of their code, but the target's share is that of the
# whole network, whose mask networks are in the denominator too.
# Ours: not run.
#
#   python tools/train.py configs/resnet18_imagenet.py  # once, the plain network
#   python tools/train.py configs/rivals/resnet18_dgnet_imagenet.py
#   bash tools/dist_train.sh configs/rivals/resnet18_dgnet_imagenet.py 4 --cfg-options \
#     train_dataloader.batch_size=64
#
# Knob: the MACs you can afford, as a fraction of the dense ones, and the same for the bounds:
#   --cfg-options model.gate_losses.target.target=0.5 model.gate_losses.bounds.target=0.5
_base_ = [
    "../_base_/datasets/imagenet.py",
    "../_base_/schedules/imagenet_150e.py",
    "../default_runtime.py",
]
model = dict(
    type="mmbas.GatedImageClassifier",
    backbone=dict(
        type="mmbas.GatedResNet",
        depth=18,
        gate_positions="tiles",
        gate_grid=(7, 7, 7, 7),
        gate=dict(type="mmbas.DualGate", init_open_prob=0.88),
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=1000,
        in_channels=512,
        loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
        topk=(1, 5),
    ),
    init_cfg=dict(type="Pretrained", checkpoint="work_dirs/resnet18_imagenet/epoch_150.pth"),
    gate_losses=dict(
        target=dict(type="mmbas.TargetMACsLoss", target=0.4, loss_weight=5.0, noise=True),
        bounds=dict(type="mmbas.DensityBoundsLoss", target=0.4, of="gates", loss_weight=1.0),
    ),
)
optim_wrapper = dict(optimizer=dict(lr=0.05))
param_scheduler = dict(
    _delete_=True, type="CosineAnnealingLR", by_epoch=True, T_max=100, convert_to_iter_based=True
)
train_cfg = dict(max_epochs=100)
custom_hooks = [
    dict(
        type="mmbas.SettingScheduleHook",
        setting="tightness",
        loss="bounds",
        # exp(-0.05 epoch) over 100 epochs
        window=dict(begin=0, end=100, start=1.0, stop=0.00674, shape="exponential"),
    ),
    dict(type="mmbas.GateMonitorHook", interval=50),
]
