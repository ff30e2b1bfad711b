# The gated ResNet for ImageNet with both gate losses: lambda is bas.loss_weight, gamma
# l0.loss_weight.
model = dict(
    type="mmbas.GatedImageClassifier",
    backbone=dict(
        type="mmbas.GatedResNet",
        depth=18,
        gate=dict(type="mmbas.ChannelGate"),
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=1000,
        in_channels=512,  # 2048 for the bottlenecks of ResNet-50 and deeper
        loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
        topk=(1, 5),
    ),
    gate_losses=dict(
        bas=dict(
            type="mmbas.BatchShapingLoss",
            loss_weight=0.75,
            prior=dict(type="mmbas.BetaPrior", a=0.6, b=0.4),
        ),
        l0=dict(type="mmbas.GateL0Loss", loss_weight=0.05),
    ),
)
