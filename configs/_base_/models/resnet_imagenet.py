# The plain ResNet for ImageNet: the same class as the gated one, without gates.
model = dict(
    type="mmbas.GatedImageClassifier",
    backbone=dict(type="mmbas.GatedResNet", depth=18, gate=None),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=1000,
        in_channels=512,  # 2048 for the bottlenecks of ResNet-50 and deeper
        loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
        topk=(1, 5),
    ),
)
