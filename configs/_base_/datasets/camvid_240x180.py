# CamVid at half its size, for a machine without a GPU.
_base_ = "camvid.py"
crop_size = (160, 208)  # height, width

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=(240, 180), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
# Predictions are resized to the labels, which keep their size.
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(240, 180), keep_ratio=True),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
tta_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(240, 180), keep_ratio=True),
    {{_base_.test_time_augmentation}},
]
train_dataloader = dict(batch_size=4, num_workers=0, dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(pipeline=test_pipeline)
)
