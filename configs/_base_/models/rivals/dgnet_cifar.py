# DGNet (Li et al., ICCV 2021): tiles of the feature maps and inner channels, drawn to a share of
# the MACs, from a trained plain network. Every layer is held near the target first.
_init_cfg = dict(type="Pretrained", checkpoint="work_dirs/resnet32_cifar10/epoch_500.pth")
model = dict(
    type="mmbas.GatedImageClassifier",
    backbone=dict(
        type="mmbas.GatedResNetCifar",
        depth=32,
        gate_positions="tiles",
        gate_grid=(8, 8, 4),
        gate=dict(type="mmbas.DualGate", init_open_prob=0.88),
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=10,
        in_channels=64,
        loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
    ),
    init_cfg=_init_cfg,
    gate_losses=dict(
        target=dict(type="mmbas.TargetMACsLoss", target=0.4, loss_weight=5.0, noise=True),
        bounds=dict(type="mmbas.DensityBoundsLoss", target=0.4, of="gates", loss_weight=1.0),
    ),
)
custom_hooks = [
    dict(
        type="mmbas.SettingScheduleHook",
        setting="tightness",
        loss="bounds",
        # exp(-0.02 epoch) over 300 epochs
        window=dict(begin=0, end=300, start=1.0, stop=0.00248, shape="exponential"),
    ),
    dict(type="mmbas.GateMonitorHook", interval=50),
]
