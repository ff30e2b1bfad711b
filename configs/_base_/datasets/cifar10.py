# CIFAR-10 with the standard augmentation (appendix B.1 of the paper): random crop and flip.
# mmpretrain's dataset downloads the images to data/cifar10 where they are missing.
data_preprocessor = dict(
    num_classes=10,
    mean=[125.307, 122.961, 113.8575],
    std=[51.5865, 50.847, 51.255],
    to_rgb=False,  # the images are RGB already
)

train_pipeline = [
    dict(type="RandomCrop", crop_size=32, padding=4),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="PackInputs"),
]
test_pipeline = [dict(type="PackInputs")]

train_dataloader = dict(
    batch_size=256,
    drop_last=True,  # gates normalise over the batch, which must not end with one image
    num_workers=2,
    persistent_workers=False,  # workers are seeded when they start: once an epoch, for resuming
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="CIFAR10", data_root="data/cifar10", split="train", pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="CIFAR10", data_root="data/cifar10", split="test", pipeline=test_pipeline),
)
test_dataloader = val_dataloader

val_evaluator = [
    dict(type="Accuracy", topk=(1,)),
    dict(type="mmbas.ConditionalMACs"),
    dict(type="mmbas.GateStatistics"),
]
test_evaluator = val_evaluator
