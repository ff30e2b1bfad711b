# Appendix B.3 of the paper: SGD with momentum, weight decay 1e-4 and 1e-6 on the layers of the
# gates, learning rate 2e-2 * (1 - iteration / 150000)^0.9.
optim_wrapper = dict(
    optimizer=dict(type="SGD", lr=2e-2, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys={".gate.": dict(decay_mult=0.01)}),
)
param_scheduler = dict(type="PolyLR", by_epoch=False, begin=0, end=150_000, power=0.9, eta_min=0.0)

train_cfg = dict(type="IterBasedTrainLoop", max_iters=150_000, val_interval=10_000)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

auto_scale_lr = dict(base_batch_size=6)
