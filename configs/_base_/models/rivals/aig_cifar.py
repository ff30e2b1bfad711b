# ConvNet-AIG (Veit, Belongie, ECCV 2018): one gate for the residual branch of every block, hard
# Gumbel softmax of temperature 1, a wanted execution rate for each block.
# The two logits of the authors' gates are one here, their difference: it starts at 1.9. It moves
# by the steps of both, so the learning rate of the last layer is doubled.
model = dict(
    type="mmbas.GatedImageClassifier",
    backbone=dict(
        type="mmbas.GatedResNetCifar",
        depth=32,
        gate_positions="branch",
        gate=dict(
            type="mmbas.ChannelGate",
            hidden_channels=16,
            temperature=1.0,
            init_open_prob=0.87,
            init_weight_std=0.0014,
        ),
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=10,
        in_channels=64,
        loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
    ),
    gate_losses=dict(rate=dict(type="mmbas.TargetRateLoss", target=0.6, loss_weight=2.0)),
)
custom_hooks = [dict(type="mmbas.GateMonitorHook", interval=50)]
