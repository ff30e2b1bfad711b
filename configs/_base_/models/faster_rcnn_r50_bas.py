# Faster R-CNN with gates in every block of its ResNet-50, and their losses. The batch-shaping paper
# has no detector; these settings are those that its segmentation and our runs on CamVid suggest.
_base_ = "faster_rcnn_r50.py"
model = dict(
    backbone=dict(gate=dict(_delete_=True, type="mmbas.ChannelGate")),
    gate_losses=dict(
        bas=dict(
            type="mmbas.BatchShapingLoss",
            loss_weight=0.2,
            reduction="layer_mean",
            # Two images say nothing about a distribution: each batch is ranked among the values of
            # the last 128 images too, and several GPUs share a batch.
            queue_size=128,
            gather=True,
        ),
        l0=dict(type="mmbas.GateL0Loss", loss_weight=0.02),
    ),
)
