# ImageNet (ILSVRC 2012): a random crop of random size and shape, and flip; one central crop for
# testing. Nothing is downloaded. Appendix B.2 of the paper has "a standard data-augmentation scheme
# adopted from He et al. (2016)", who resize the short side to 256 to 480 pixels, crop 224, and vary
# colours. We take the crop with which torchvision trained its ResNets: their 69.76 %, 73.3 % and
# 76.1 % are the baselines that the paper prints.
data_preprocessor = dict(
    num_classes=1000,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)

# A truncated file is an error that names it; plain decoding would fill the rest with grey.
train_pipeline = [
    dict(type="mmbas.LoadCheckedImage"),
    dict(type="RandomResizedCrop", scale=224),
    dict(type="RandomFlip", prob=0.5, direction="horizontal"),
    dict(type="PackInputs"),
]
test_pipeline = [
    dict(type="mmbas.LoadCheckedImage"),
    dict(type="ResizeEdge", scale=256, edge="short"),
    dict(type="CenterCrop", crop_size=224),
    dict(type="PackInputs"),
]

# 256 images in one process, as in the paper; N GPUs take 256 / N each (see the experiments).
train_dataloader = dict(
    batch_size=256,
    drop_last=True,  # gates normalise over the batch, which must not end with one image
    num_workers=8,
    persistent_workers=False,  # workers are seeded when they start: once an epoch, for resuming
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(
        type="ImageNet", data_root="data/imagenet", split="train", pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="ImageNet", data_root="data/imagenet", split="val", pipeline=test_pipeline),
)
test_dataloader = val_dataloader

val_evaluator = [
    dict(type="Accuracy", topk=(1, 5)),
    dict(type="mmbas.ConditionalMACs"),
    dict(type="mmbas.ConditionalParams"),
    dict(type="mmbas.GateStatistics"),
]
test_evaluator = val_evaluator
