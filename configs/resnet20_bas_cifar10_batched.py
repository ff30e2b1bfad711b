# resnet20_bas_cifar10.py with crop and flip of whole batches: loads seven times as fast.
#
# Paper: as resnet20_bas_cifar10.py; the augmentation is the same, its random numbers are others.
# Ours: not run at full length; loading: benchmarks/2026-11-23-throughput-cifar.md.
#
#   python tools/train.py configs/resnet20_bas_cifar10_batched.py
#
# Knob: gamma: --cfg-options model.gate_losses.l0.loss_weight=0.1
# Another folder: train_dataloader.dataset.dataset.data_root=DIR, and as ever for val and test.
# For another network replace the first line below by its files.
_base_ = [
    "_base_/models/gated_resnet_cifar.py",
    "_base_/datasets/cifar10_batched.py",
    "_base_/schedules/cifar10_500e.py",
    "_base_/schedules/gate_losses_500e.py",
    "default_runtime.py",
]
