# The handwritten digits of scikit-learn, upscaled to 32x32; nothing is downloaded.
data_preprocessor = dict(
    num_classes=10,
    mean=[78.0, 78.0, 78.0],
    std=[82.6, 82.6, 82.6],
    to_rgb=False,  # the three channels are equal
)

# A mirrored digit is another sign, so none is flipped.
train_pipeline = [
    dict(type="RandomCrop", crop_size=32, padding=4),
    dict(type="PackInputs"),
]
test_pipeline = [dict(type="PackInputs")]

# The images are in memory and the pipeline is short: workers would cost more than they save.
train_dataloader = dict(
    batch_size=64,
    drop_last=True,  # gates normalise over the batch, which must not end with one image
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type="DefaultSampler", shuffle=True),
    dataset=dict(type="mmbas.Digits", split="train", pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(type="mmbas.Digits", split="test", test_mode=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader

val_evaluator = [
    dict(type="Accuracy", topk=(1,)),
    dict(type="mmbas.ConditionalMACs"),
    dict(type="mmbas.GateStatistics"),
]
test_evaluator = val_evaluator
