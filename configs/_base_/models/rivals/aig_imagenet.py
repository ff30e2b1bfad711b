# ConvNet-AIG (Veit, Belongie, ECCV 2018) for ImageNet; see aig_cifar.py.
model = dict(
    type="mmbas.GatedImageClassifier",
    backbone=dict(
        type="mmbas.GatedResNet",
        depth=34,
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
        num_classes=1000,
        in_channels=512,  # 2048 for the bottlenecks of ResNet-50 and deeper
        loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
        topk=(1, 5),
    ),
    gate_losses=dict(rate=dict(type="mmbas.TargetRateLoss", target=0.7, loss_weight=1.0)),
)
custom_hooks = [dict(type="mmbas.GateMonitorHook", interval=50)]
