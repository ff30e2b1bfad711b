# Street scenes drawn by tools/make_street_scenes.py --coco, 192x96 pixels: the data set class and
# the transforms of COCO.
_base_ = "coco_detection.py"
classes = dict(classes=("car", "person", "pole"))
street_boxes = dict(data_root="data/street_boxes", metainfo=classes)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=(192, 96), keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(192, 96), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]

# The images are small: workers would cost more than they save.
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    dataset=dict(
        **street_boxes,
        ann_file="annotations/instances_train.json",
        data_prefix=dict(img=""),
        filter_cfg=dict(filter_empty_gt=True, min_size=0),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    num_workers=0,
    dataset=dict(
        **street_boxes,
        ann_file="annotations/instances_val.json",
        data_prefix=dict(img=""),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader

val_evaluator = [
    dict(
        type="CocoMetric",
        metric="bbox",
        ann_file="data/street_boxes/annotations/instances_val.json",
    ),
    dict(type="mmbas.ConditionalMACs"),
    dict(type="mmbas.GateStatistics"),
]
test_evaluator = val_evaluator
