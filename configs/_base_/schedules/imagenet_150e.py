# Appendix B.2 of the paper, "similar optimization settings to CIFAR-10": Nesterov momentum and no
# weight decay on gate parameters are those of appendix B.1.
optim_wrapper = dict(
    optimizer=dict(type="SGD", lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys={".gate.": dict(decay_mult=0.0)}),
)
param_scheduler = dict(type="MultiStepLR", by_epoch=True, milestones=[60, 90, 120], gamma=0.1)

train_cfg = dict(by_epoch=True, max_epochs=150, val_interval=1)
val_cfg = dict()
test_cfg = dict()

auto_scale_lr = dict(base_batch_size=256)
