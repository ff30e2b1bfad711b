# In the style of SGAD: a guideline network on the image scales residual blocks softly and drops
# them. Only the abstract of that paper (arXiv 1807.01430) was available to us.
model = dict(
    type="mmbas.GatedImageClassifier",
    backbone=dict(
        type="mmbas.GatedResNetCifar",
        depth=32,
        gate_positions="branch",
        plain_blocks=(0,),
        gate=dict(type="mmbas.GivenGate", soft=True),
        gater=dict(
            type="mmbas.ImageGater",
            network=dict(type="mmbas.GatedResNetCifar", depth=8, base_channels=8, gate=None),
            bottleneck=16,
            norm=True,
        ),
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=10,
        in_channels=64,
        loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
    ),
    gate_losses=dict(target=dict(type="mmbas.TargetMACsLoss", target=0.4, loss_weight=100.0)),
)
custom_hooks = [dict(type="mmbas.GateMonitorHook", interval=50)]
