# The gated CIFAR ResNet of the target-MACs recipe and the plain network that it starts from.
_base_ = "target_macs.py"
_init_cfg = dict(type="Pretrained", checkpoint="work_dirs/resnet20_cifar10/epoch_500.pth")
_head = dict(
    type="LinearClsHead",
    num_classes=10,
    in_channels=64,
    loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
)
_backbone = dict(type="mmbas.GatedResNetCifar", depth=20)

model = dict(
    backbone=_backbone,
    head=_head,
    init_cfg=_init_cfg,
    gate_losses=dict(target=dict(target=0.6)),
    teacher=dict(backbone=_backbone, head=_head, init_cfg=_init_cfg),
)
