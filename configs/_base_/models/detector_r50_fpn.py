# What both detectors share: images, a ResNet-50 as MMDetection trains it (weights of ImageNet, the
# first stage and all statistics of normalisation fixed), and the feature pyramid; plain.
#
# T.-Y. Lin et al.: Feature Pyramid Networks for Object Detection, CVPR 2017.
model = dict(
    type="mmbas.GatedModel",
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
    ),
    backbone=dict(
        type="mmbas.GatedResNet",
        depth=50,
        out_indices=(0, 1, 2, 3),
        frozen_stages=1,
        norm_cfg=dict(type="BN", requires_grad=True),
        norm_eval=True,
        gate=None,
        init_cfg=dict(type="Pretrained", checkpoint="torchvision://resnet50"),
    ),
    neck=dict(type="FPN", in_channels=[256, 512, 1024, 2048], out_channels=256, num_outs=5),
)
