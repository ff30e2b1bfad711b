# Appendix B.1 of the paper. Gate parameters have no weight decay, all others keep theirs, those
# of norm layers too. (A custom key overrides norm_decay_mult and its like, so none is used.)
optim_wrapper = dict(
    optimizer=dict(type="SGD", lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
    paramwise_cfg=dict(custom_keys={".gate.": dict(decay_mult=0.0)}),
)
param_scheduler = dict(type="MultiStepLR", by_epoch=True, milestones=[300, 375, 450], gamma=0.1)

train_cfg = dict(by_epoch=True, max_epochs=500, val_interval=10)
val_cfg = dict()
test_cfg = dict()

auto_scale_lr = dict(base_batch_size=256)
