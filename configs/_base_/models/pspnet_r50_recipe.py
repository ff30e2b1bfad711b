# PSPNet of our recipe, which is not the paper's: gates that start open for 90 % of the images, and
# a target of average MACs. Batch-shaping is a mean over each layer's gates, as their sum outweighs
# the task's loss (results/README.md); the schedule ends it early.
_base_ = "pspnet_r50_bas.py"
model = dict(
    backbone=dict(gate=dict(init_open_prob=0.9)),
    gate_losses=dict(
        bas=dict(reduction="layer_mean"),
        target=dict(type="mmbas.TargetMACsLoss", target=0.75, loss_weight=100.0),
    ),
)
