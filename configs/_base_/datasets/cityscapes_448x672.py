# Cityscapes with the augmentation of the paper's appendix B.3: resize by 0.5 to 2, crop, mirror.
# docs/data.md says where to get the images and how to make the label files.
crop_size = (448, 672)  # height, width

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=(2048, 1024), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
# Single-scale, the whole image, in the size it has.
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
# Multi-scale and flip test, as in MMSegmentation: 12 forward passes, all of which count as MACs.
test_time_augmentation = dict(
    type="TestTimeAug",
    transforms=[
        [
            dict(type="Resize", scale_factor=ratio, keep_ratio=True)
            for ratio in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
        ],
        [dict(type="RandomFlip", prob=prob, direction="horizontal") for prob in (0.0, 1.0)],
        [dict(type="LoadAnnotations")],
        [dict(type="PackSegInputs")],
    ],
)
tta_pipeline = [dict(type="LoadImageFromFile"), test_time_augmentation]

train_dataloader = dict(
    batch_size=6,  # on one GPU; on two, 3 each
    drop_last=True,  # gates normalise over the batch, which must not end with one image
    num_workers=4,
    persistent_workers=False,  # an iteration-based run starts its workers once anyway
    sampler=dict(type="InfiniteSampler", shuffle=True),
    dataset=dict(
        type="mmbas.Cityscapes",
        data_root="data/cityscapes",
        data_prefix=dict(img_path="leftImg8bit/train", seg_map_path="gtFine/train"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,  # images may differ in size
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="mmbas.Cityscapes",
        data_root="data/cityscapes",
        data_prefix=dict(img_path="leftImg8bit/val", seg_map_path="gtFine/val"),
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader

val_evaluator = [
    dict(type="IoUMetric", iou_metrics=["mIoU"]),  # aAcc, the pixel accuracy, comes with it
    dict(type="mmbas.ConditionalMACs"),
    dict(type="mmbas.GateStatistics"),
]
test_evaluator = val_evaluator
