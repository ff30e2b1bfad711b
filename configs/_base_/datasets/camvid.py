# CamVid, 480x360 pixels, with the augmentation of the Cityscapes experiments. The images of its
# test split are for the result, those of val for looking during training.
# docs/data.md says where to get the images.
_base_ = "cityscapes_448x672.py"
crop_size = (240, 320)  # height, width

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=(480, 360), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
camvid = dict(type="mmbas.CamVid", data_root="data/camvid")

train_dataloader = dict(
    batch_size=8,
    drop_last=True,  # gates normalise over the batch, which must not end with one image
    dataset=dict(
        **camvid,
        data_prefix=dict(img_path="images/train", seg_map_path="annotations/train"),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    dataset=dict(**camvid, data_prefix=dict(img_path="images/val", seg_map_path="annotations/val")),
)
test_dataloader = dict(
    dataset=dict(
        **camvid, data_prefix=dict(img_path="images/test", seg_map_path="annotations/test")
    ),
)
