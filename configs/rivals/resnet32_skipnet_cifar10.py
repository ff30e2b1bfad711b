# SkipNet, ResNet-32 on CIFAR-10, supervised stage, under the schedule of the batch-shaping
# experiments. The second stage: resnet32_skipnet-rl_cifar10.py.
#
# Paper: none for this network. The authors' readme has, after both stages, ResNet-38 92.75 % at
# 70.3 % and ResNet-74 92.77 % at 52.3 % of the computation, all blocks taken to cost the same and
# nothing else counted; the plain networks have 92.50 % and 92.95 % (its table 2).
# Departs from the authors: 500 epochs of 256 images instead of 64,000 iterations of 128, Nesterov
# momentum, weight decay 5e-4 and none on gates, parameter-free shortcuts (theirs are 1x1
# convolutions).
# Ours: not run.
#
#   python tools/train.py configs/rivals/resnet32_skipnet_cifar10.py
#
# Knob: there is none in this stage. Feed-forward gates instead of recurrent ones:
#   --cfg-options model.backbone.gate.type=mmbas.ConvGate model.backbone.gater=None
_base_ = [
    "../_base_/datasets/cifar10.py",
    "../_base_/schedules/cifar10_500e.py",
    "../_base_/models/rivals/skipnet_cifar.py",
    "../default_runtime.py",
]
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={".gate.": dict(decay_mult=0.0), ".gater.": dict(decay_mult=0.0)}
    )
)
