# The target-MACs recipe, which is not the paper's: a network starts from a plain one with nearly
# all gates open, is drawn to an average cost, and learns from the plain one. The two networks and
# their weights come with the files that build on this one.
model = dict(
    type="mmbas.DistilledClassifier",
    backbone=dict(gate=dict(type="mmbas.ChannelGate", init_open_prob=0.9)),
    neck=dict(type="GlobalAveragePooling"),
    gate_losses=dict(
        bas=dict(type="mmbas.BatchShapingLoss", loss_weight=0.75),
        target=dict(type="mmbas.TargetMACsLoss", loss_weight=100.0),
    ),
    teacher=dict(
        type="mmbas.GatedImageClassifier",
        backbone=dict(gate=None),
        neck=dict(type="GlobalAveragePooling"),
    ),
    distill_weight=1.0,
    temperature=4.0,
)
