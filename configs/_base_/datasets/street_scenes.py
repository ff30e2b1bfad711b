# Street scenes drawn by tools/make_street_scenes.py, 192x96 pixels: the data set class and the
# transforms of Cityscapes, with sizes a tenth as large.
_base_ = "cityscapes_448x672.py"
crop_size = (48, 96)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=(192, 96), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]

# The images are small: workers would cost more than they save.
train_dataloader = dict(
    batch_size=4,
    drop_last=True,  # gates normalise over the batch, which must not end with one image
    num_workers=0,
    dataset=dict(data_root="data/street_scenes", pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=0, persistent_workers=False, dataset=dict(data_root="data/street_scenes")
)
test_dataloader = val_dataloader
