# The gated ResNet-50 of the target-MACs recipe, which is not the paper's: it starts from a plain
# network with nearly all gates open, is drawn to an average cost, and learns from the plain one.
# The weights are MMPretrain's resnet50_8xb32_in1k, top-1 76.55 %. (The same file is at
# https://download.openmmlab.com/mmclassification/v0/resnet/.)
_plain_checkpoint = (
    "https://mmassets.onedl.ai/mmclassification/v0/resnet/resnet50_8xb32_in1k_20210831-ea4938fc.pth"
)
_head = dict(
    type="LinearClsHead",
    num_classes=1000,
    in_channels=2048,
    loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
    topk=(1, 5),
)

model = dict(
    type="mmbas.DistilledClassifier",
    backbone=dict(
        type="mmbas.GatedResNet",
        depth=50,
        gate=dict(type="mmbas.ChannelGate", init_open_prob=0.9),
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=_head,
    init_cfg=dict(type="Pretrained", checkpoint=_plain_checkpoint),
    gate_losses=dict(
        bas=dict(type="mmbas.BatchShapingLoss", loss_weight=0.75),
        target=dict(type="mmbas.TargetMACsLoss", target=0.4, loss_weight=100.0),
    ),
    teacher=dict(
        type="mmbas.GatedImageClassifier",
        backbone=dict(type="mmbas.GatedResNet", depth=50, gate=None),
        neck=dict(type="GlobalAveragePooling"),
        head=_head,
        init_cfg=dict(type="Pretrained", checkpoint=_plain_checkpoint),
    ),
    distill_weight=1.0,
    temperature=4.0,
)
