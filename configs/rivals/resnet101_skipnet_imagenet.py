# SkipNet, ResNet-101 on ImageNet, supervised stage, under the schedule of the batch-shaping
# experiments.
#
# Paper: the authors' readme has top-1/top-5 77.49/93.62 % at 85.0 % of the computation after this
# stage, 76.94/93.42 % at 70.1 % after the second, all blocks taken to cost the same.
# Departs from the authors: 150 epochs instead of 120, learning rate / 10 at 60, 90, 120 instead of
# every 30, Nesterov momentum, no weight decay on gates.
# Ours: not run.
#
#   python tools/train.py configs/rivals/resnet101_skipnet_imagenet.py
#   bash tools/dist_train.sh configs/rivals/resnet101_skipnet_imagenet.py 4 --cfg-options \
#     train_dataloader.batch_size=64
#
# Knob: there is none in this stage.
_base_ = [
    "../_base_/datasets/imagenet.py",
    "../_base_/schedules/imagenet_150e.py",
    "../default_runtime.py",
]
model = dict(
    type="mmbas.GatedImageClassifier",
    backbone=dict(
        type="mmbas.GatedResNet",
        depth=101,
        gate_positions="block",
        plain_blocks=(0,),
        gate=dict(type="mmbas.RecurrentGate"),
        gater=dict(type="mmbas.RecurrentGater"),
    ),
    neck=dict(type="GlobalAveragePooling"),
    head=dict(
        type="LinearClsHead",
        num_classes=1000,
        in_channels=2048,
        loss=dict(type="CrossEntropyLoss", loss_weight=1.0),
        topk=(1, 5),
    ),
)
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={".gate.": dict(decay_mult=0.0), ".gater.": dict(decay_mult=0.0)}
    )
)
custom_hooks = [dict(type="mmbas.GateMonitorHook", interval=50)]
