# MMSegmentation's schedule of 40k iterations with 8 images each. Gates have the paper's weight
# decay of 1e-6.
optim_wrapper = dict(
    optimizer=dict(type="SGD", lr=1e-2, momentum=0.9, weight_decay=5e-4),
    paramwise_cfg=dict(custom_keys={".gate.": dict(decay_mult=0.002)}),
)
param_scheduler = dict(type="PolyLR", by_epoch=False, begin=0, end=40_000, power=0.9, eta_min=1e-4)

train_cfg = dict(type="IterBasedTrainLoop", max_iters=40_000, val_interval=4000)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")

auto_scale_lr = dict(base_batch_size=8)
