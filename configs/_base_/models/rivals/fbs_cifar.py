# Feature boosting and suppression (Gao et al., ICLR 2019): the most salient half of the channels,
# each multiplied by its saliency, from a trained plain network. The density falls in steps.
_init_cfg = dict(type="Pretrained", checkpoint="work_dirs/resnet32_cifar10/epoch_500.pth")
model = dict(
    type="mmbas.GatedImageClassifier",
    backbone=dict(
        type="mmbas.GatedResNetCifar",
        depth=32,
        gate_positions="both",
        gate=dict(type="mmbas.TopKGate", density=0.5),
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
        l1=dict(type="mmbas.GateL1Loss", of="scales", reduction="sum", loss_weight=1e-8)
    ),
)
custom_hooks = [
    dict(
        type="mmbas.SettingScheduleHook",
        setting="density",
        window=dict(begin=0, end=250, start=1.0, stop=0.5, shape="steps", num_steps=5),
    ),
    dict(type="mmbas.GateMonitorHook", interval=50),
]
