# SkipNet (Wang et al., ECCV 2018), supervised stage: recurrent gates, hard and without noise, that
# replace a block by its shortcut. The first block has no gate, and there is no gate loss.
model = dict(
    type="mmbas.GatedImageClassifier",
    backbone=dict(
        type="mmbas.GatedResNetCifar",
        depth=32,
        gate_positions="block",
        plain_blocks=(0,),
        gate=dict(type="mmbas.RecurrentGate"),
        gater=dict(type="mmbas.RecurrentGater"),
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=10,
        in_channels=64,
        loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
    ),
    gate_losses=dict(),
)
custom_hooks = [dict(type="mmbas.GateMonitorHook", interval=50)]
