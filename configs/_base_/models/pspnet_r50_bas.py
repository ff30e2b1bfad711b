# PSPNet with gates in every block of its ResNet-50 and the batch-shaping loss with a fixed lambda
# (loss_weight), as the paper trains it on Cityscapes; no L0 loss.
_base_ = "pspnet_r50.py"
model = dict(
    backbone=dict(gate=dict(_delete_=True, type="mmbas.ChannelGate"), gate_positions="both"),
    gate_losses=dict(
        bas=dict(
            type="mmbas.BatchShapingLoss",
            loss_weight=0.2,
            # The paper's text sums over gates. In short runs of PSPNet-R18 on CamVid "layer_mean"
            # cost 2 points of mIoU and "sum" 16 (results/README.md).
            reduction="sum",
            prior=dict(type="mmbas.BetaPrior", a=0.6, b=0.4),
            # The empirical CDF of 6 values is a staircase of six: it says little about a gate. So
            # each batch is ranked among the values of the last 120 images too (the 20 batches
            # before, over which the weights move little). The paper is silent; 0 ranks the batch
            # alone.
            queue_size=120,
            # Several GPUs share the batch, which must be ranked as one. No effect on one GPU.
            gather=True,
        ),
    ),
)
