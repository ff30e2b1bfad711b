# A plain ResNet-20 on the handwritten digits whose norm outputs are shaped to a uniform prior.
#
# Shaping needs no gates: ShapedModel takes any registered model as host, here MMPretrain's own
# classifier, and ShapingLoss finds its features by name.
#
# Paper: section 3 proposes it for quantisation, without a number. Ours: not run; shorter trainings
# are in results/shaping.md.
#
#   python tools/train.py configs/resnet20_uniform_digits.py
#
# Knob: weight of the shaping loss, --cfg-options model.shaping_losses.norms.loss_weight=0.3
_base_ = [
    "_base_/models/resnet_cifar.py",
    "_base_/datasets/digits.py",
    "_base_/schedules/digits_40e.py",
    "default_runtime.py",
]

model = dict(
    type="mmbas.ShapedModel",
    host="ImageClassifier",
    shaping_losses=dict(
        norms=dict(
            type="mmbas.ShapingLoss",
            features=["backbone.bn1", "backbone.layer?.?.bn1"],
            prior=dict(type="mmbas.UniformPrior", low=-2.0, high=2.0),
            reduction="mean",
            min_density=0.1,
        ),
    ),
)
default_hooks = dict(logger=dict(interval=23), checkpoint=dict(interval=10, max_keep_ckpts=2))
custom_hooks = [
    dict(
        type="mmbas.GateLossScheduleHook",
        by_epoch=True,
        windows=dict(norms=dict(begin=0, end=4, start_factor=0.0, end_factor=1.0)),
    ),
]
val_evaluator = [dict(type="Accuracy", topk=(1,))]
test_evaluator = val_evaluator
