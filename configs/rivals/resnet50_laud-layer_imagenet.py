# LAUDNet, mode "layer", ResNet-50 on ImageNet, under its authors' schedule: 100 epochs from the
# trained plain network, 1024 images a batch, learning rate 0.08, cosine, weight decay 5e-5.
#
# Paper: a figure in the authors' readme; no number is printed there.
# Departs from the authors: the plain network is ours, of 150 epochs, not torchvision's.
# Ours: not run.
#
#   python tools/train.py configs/resnet50_imagenet.py  # once, the plain network
#   python tools/train.py configs/rivals/resnet50_laud-layer_imagenet.py
#   bash tools/dist_train.sh configs/rivals/resnet50_laud-layer_imagenet.py 4 --cfg-options \
#     train_dataloader.batch_size=256
#
# Knob: the MACs you can afford, as a fraction of the dense 4.09 G, and the same for the bounds:
#   --cfg-options model.gate_losses.target.target=0.6 model.gate_losses.bounds.target=0.6
_base_ = [
    "../_base_/datasets/imagenet.py",
    "../_base_/schedules/imagenet_150e.py",
    "../default_runtime.py",
]
_init_cfg = dict(type="Pretrained", checkpoint="work_dirs/resnet50_imagenet/epoch_150.pth")
model = dict(
    type="mmbas.DistilledClassifier",
    backbone=dict(
        type="mmbas.GatedResNet",
        depth=50,
        gate_positions="branch",
        gate=dict(type="mmbas.LinearGate", temperature=5.0, init_open_prob=0.9933),
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=1000,
        in_channels=2048,
        loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
        topk=(1, 5),
    ),
    init_cfg=_init_cfg,
    teacher=dict(
        type="mmbas.GatedImageClassifier",
        backbone=dict(type="mmbas.GatedResNet", depth=50, gate=None),
        neck=dict(type="GlobalAveragePooling"),
        head=dict(
            type="LinearClsHead",
            num_classes=1000,
            in_channels=2048,
            loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
            topk=(1, 5),
        ),
        init_cfg=_init_cfg,
    ),
    distill_weight=0.5,
    temperature=4.0,
    gate_losses=dict(
        target=dict(type="mmbas.TargetMACsLoss", target=0.5, loss_weight=10.0, noise=True),
        bounds=dict(type="mmbas.DensityBoundsLoss", target=0.5, of="macs", loss_weight=10.0),
    ),
)
train_dataloader = dict(batch_size=1024)
optim_wrapper = dict(optimizer=dict(lr=0.08, weight_decay=5e-5), paramwise_cfg=dict(_delete_=True))
param_scheduler = dict(
    _delete_=True, type="CosineAnnealingLR", by_epoch=True, T_max=100, convert_to_iter_based=True
)
train_cfg = dict(max_epochs=100)
auto_scale_lr = dict(base_batch_size=1024)
custom_hooks = [
    dict(
        type="mmbas.SettingScheduleHook",
        setting="temperature",
        window=dict(begin=0, end=100, start=5.0, stop=0.1, shape="exponential"),
    ),
    dict(
        type="mmbas.SettingScheduleHook",
        setting="tightness",
        loss="bounds",
        window=dict(begin=0, end=33, start=1.0, stop=0.0, shape="cosine"),
    ),
    dict(type="mmbas.GateMonitorHook", interval=50),
]
