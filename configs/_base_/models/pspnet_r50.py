# PSPNet on a dilated ResNet-50 (output stride 8, three 3x3 convolutions as the stem), plain: the
# class of the gated network without gates.
#
# H. Zhao et al.: Pyramid Scene Parsing Network, CVPR 2017. The sizes are MMSegmentation's, so its
# checkpoints load. The batch-shaping paper does not mention the auxiliary head of PSPNet; we keep
# it, since "the original PSP network" has it. It trains only, so no MACs of it are counted.
norm_cfg = dict(type="SyncBN", requires_grad=True)  # becomes BN where one process trains
model = dict(
    type="mmbas.GatedEncoderDecoder",
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        # Only training pads: images smaller than the crop, to the largest one of their batch.
        size_divisor=8,
    ),
    backbone=dict(
        type="mmbas.GatedResNet",
        depth=50,
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        contract_dilation=True,
        deep_stem=True,
        out_indices=(0, 1, 2, 3),
        norm_cfg=norm_cfg,
        gate=None,
    ),
    decode_head=dict(
        type="PSPHead",
        in_channels=2048,
        in_index=3,
        channels=512,
        pool_scales=(1, 2, 3, 6),
        dropout_ratio=0.1,
        num_classes=19,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=dict(
        type="FCNHead",
        in_channels=1024,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=19,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=0.4),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
