# The gated ResNet-50 of the target-MACs recipe and the plain network that it starts from:
# MMPretrain's resnet50_8xb32_in1k, top-1 76.55 %. (The same file is at
# https://download.openmmlab.com/mmclassification/v0/resnet/.)
_base_ = "target_macs.py"
_init_cfg = dict(
    type="Pretrained",
    checkpoint="https://mmassets.onedl.ai/mmclassification/v0/resnet/"
    "resnet50_8xb32_in1k_20210831-ea4938fc.pth",
)
_head = dict(
    type="LinearClsHead",
    num_classes=1000,
    in_channels=2048,
    loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
    topk=(1, 5),
)
_backbone = dict(type="mmbas.GatedResNet", depth=50)

model = dict(
    backbone=_backbone,
    head=_head,
    init_cfg=_init_cfg,
    gate_losses=dict(target=dict(target=0.4)),
    teacher=dict(backbone=_backbone, head=_head, init_cfg=_init_cfg),
)
