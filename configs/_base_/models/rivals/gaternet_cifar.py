# GaterNet (Chen et al., CVPR 2019): a ResNet-20 looks at the image and gates the output channels of
# every block, by improved semantic hashing.
model = dict(
    type="mmbas.GatedImageClassifier",
    backbone=dict(
        type="mmbas.GatedResNetCifar",
        depth=32,
        gate_positions="out",
        gate=dict(type="mmbas.GivenGate", sampler=dict(type="mmbas.SemanticHash")),
        gater=dict(
            type="mmbas.ImageGater",
            network=dict(type="mmbas.GatedResNetCifar", depth=20, gate=None),
            bottleneck=8,
        ),
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=10,
        in_channels=64,
        loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
    ),
    gate_losses=dict(
        l1=dict(type="mmbas.GateL1Loss", of="gates", reduction="mean", loss_weight=0.1)
    ),
)
custom_hooks = [dict(type="mmbas.GateMonitorHook", interval=50)]
