# COCO 2017 (https://cocodataset.org) at MMDetection's size; docs/data.md says where it goes.
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=(1333, 800), keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(1333, 800), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]

train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    persistent_workers=False,  # workers are seeded when they start: once an epoch, for resuming
    sampler=dict(type="DefaultSampler", shuffle=True),
    # Wide and high images in batches of their own. Gates normalise over the batch, which must not
    # end with one image.
    batch_sampler=dict(type="AspectRatioBatchSampler", drop_last=True),
    dataset=dict(
        type="CocoDataset",
        data_root="data/coco",
        ann_file="annotations/instances_train2017.json",
        data_prefix=dict(img="train2017/"),
        filter_cfg=dict(filter_empty_gt=True, min_size=32),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="CocoDataset",
        data_root="data/coco",
        ann_file="annotations/instances_val2017.json",
        data_prefix=dict(img="val2017/"),
        test_mode=True,
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = [
    dict(
        type="CocoMetric",
        metric="bbox",
        ann_file="data/coco/annotations/instances_val2017.json",
    ),
    dict(type="mmbas.ConditionalMACs"),
    dict(type="mmbas.GateStatistics"),
]
test_evaluator = val_evaluator
