# LAUDNet (Han et al., 2023), mode "layer": one gate for the residual branch of every block, from a
# trained plain network, which is the teacher too. The temperature falls over the training.
_init_cfg = dict(type="Pretrained", checkpoint="work_dirs/resnet32_cifar10/epoch_500.pth")
model = dict(
    type="mmbas.DistilledClassifier",
    backbone=dict(
        type="mmbas.GatedResNetCifar",
        depth=32,
        gate_positions="branch",
        gate=dict(type="mmbas.LinearGate", temperature=5.0, init_open_prob=0.9933),
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=10,
        in_channels=64,
        loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
    ),
    init_cfg=_init_cfg,
    teacher=dict(
        type="mmbas.GatedImageClassifier",
        backbone=dict(type="mmbas.GatedResNetCifar", depth=32, gate=None),
        neck=dict(type="GlobalAveragePooling"),
        head=dict(
            type="LinearClsHead",
            num_classes=10,
            in_channels=64,
            loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
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
custom_hooks = [
    dict(
        type="mmbas.SettingScheduleHook",
        setting="temperature",
        window=dict(begin=0, end=500, start=5.0, stop=0.1, shape="exponential"),
    ),
    dict(
        type="mmbas.SettingScheduleHook",
        setting="tightness",
        loss="bounds",
        window=dict(begin=0, end=165, start=1.0, stop=0.0, shape="cosine"),
    ),
    dict(type="mmbas.GateMonitorHook", interval=50),
]
