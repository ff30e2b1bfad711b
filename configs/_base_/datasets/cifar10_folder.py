# The images of CIFAR-10 as class folders, data/cifar10/{train,test}/<class>/<name>.jpg (or .png).
#
# This file goes on top of any CIFAR-10 experiment and replaces its images, nothing else. The four
# lines for resnet20_bas_cifar10.py are resnet20_bas_cifar10_folder.py; for another experiment
# write the same lines with its name, in configs/ or anywhere (with the paths adapted):
#
#   _base_ = ["resnet32_l0_cifar10.py", "_base_/datasets/cifar10_folder.py"]
#   train_dataloader = dict(dataset=_base_.folder_train)
#   val_dataloader = test_dataloader = dict(dataset=_base_.folder_test)
#   data_preprocessor = dict(to_rgb=True)
#
# Another place of the images:
#   --cfg-options train_dataloader.dataset.data_root=DIR val_dataloader.dataset.data_root=DIR \
#     test_dataloader.dataset.data_root=DIR
#
# A copy of CIFAR-10 in lossy JPEG is not CIFAR-10: name it in every result.
_folder_classes = [
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
]

folder_train = dict(
    _delete_=True,
    type="CustomDataset",
    data_root="data/cifar10",
    data_prefix="train",
    metainfo=dict(classes=_folder_classes),
    pipeline=[
        dict(type="LoadImageFromFile"),
        dict(type="RandomCrop", crop_size=32, padding=4),
        dict(type="RandomFlip", prob=0.5, direction="horizontal"),
        dict(type="PackInputs"),
    ],
)
folder_test = dict(
    _delete_=True,
    type="CustomDataset",
    data_root="data/cifar10",
    data_prefix="test",
    metainfo=dict(classes=_folder_classes),
    pipeline=[dict(type="LoadImageFromFile"), dict(type="PackInputs")],
)
