# The gated CIFAR ResNet of the target-MACs recipe, which is not the paper's: it starts from a plain
# network with nearly all gates open, is drawn to an average cost, and learns from the plain one.
_plain_checkpoint = "work_dirs/resnet20_cifar10/epoch_500.pth"
_head = dict(
    type="LinearClsHead",
    num_classes=10,
    in_channels=64,
    loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
)

model = dict(
    type="mmbas.DistilledClassifier",
    backbone=dict(
        type="mmbas.GatedResNetCifar",
        depth=20,
        gate=dict(type="mmbas.ChannelGate", init_open_prob=0.9),
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=_head,
    init_cfg=dict(type="Pretrained", checkpoint=_plain_checkpoint),
    gate_losses=dict(
        bas=dict(type="mmbas.BatchShapingLoss", loss_weight=0.75),
        target=dict(type="mmbas.TargetMACsLoss", target=0.6, loss_weight=100.0),
    ),
    teacher=dict(
        type="mmbas.GatedImageClassifier",
        backbone=dict(type="mmbas.GatedResNetCifar", depth=20, gate=None),
        neck=dict(type="GlobalAveragePooling"),
        head=_head,
        init_cfg=dict(type="Pretrained", checkpoint=_plain_checkpoint),
    ),
    distill_weight=1.0,
    temperature=4.0,
)
