# Feature boosting and suppression (FBS), ResNet-18 on ImageNet, under the schedule of the
# batch-shaping experiments, from the trained plain network.
#
# Paper: top-1/top-5 68.17/88.22 % at 1.98 times fewer MACs, the plain network 70.71/89.68 % (as a
# later paper quotes them).
# Departs from the authors: SGD with Nesterov momentum, 150 epochs in which the density falls in
# five steps, gates on the inner channels of each block only (theirs gate all convolutions), and
# normalisation keeps its scale.
# Ours: not run.
#
#   python tools/train.py configs/resnet18_imagenet.py  # once, the plain network
#   python tools/train.py configs/rivals/resnet18_fbs_imagenet.py
#   bash tools/dist_train.sh configs/rivals/resnet18_fbs_imagenet.py 4 --cfg-options \
#     train_dataloader.batch_size=64
#
# Knob: the share of channels that are computed, at the end of the schedule and in evaluation:
#   --cfg-options model.backbone.gate.density=0.7 custom_hooks.0.window.stop=0.7 \
#     custom_hooks.0.window.num_steps=3
_base_ = [
    "../_base_/datasets/imagenet.py",
    "../_base_/schedules/imagenet_150e.py",
    "../default_runtime.py",
]
model = dict(
    type="mmbas.GatedImageClassifier",
    backbone=dict(
        type="mmbas.GatedResNet",
        depth=18,
        gate_positions="both",
        gate=dict(type="mmbas.TopKGate", density=0.5),
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=1000,
        in_channels=512,
        loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
        topk=(1, 5),
    ),
    init_cfg=dict(type="Pretrained", checkpoint="work_dirs/resnet18_imagenet/epoch_150.pth"),
    gate_losses=dict(
        l1=dict(type="mmbas.GateL1Loss", of="scales", reduction="sum", loss_weight=1e-8)
    ),
)
custom_hooks = [
    dict(
        type="mmbas.SettingScheduleHook",
        setting="density",
        window=dict(begin=0, end=75, start=1.0, stop=0.5, shape="steps", num_steps=5),
    ),
    dict(type="mmbas.GateMonitorHook", interval=50),
]
