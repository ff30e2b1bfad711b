# The plain CIFAR ResNet: the same class as the gated one, without gates.
model = dict(
    type="mmbas.GatedImageClassifier",
    backbone=dict(type="mmbas.GatedResNetCifar", depth=20, gate=None),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=10,
        in_channels=64,
        loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
    ),
)
