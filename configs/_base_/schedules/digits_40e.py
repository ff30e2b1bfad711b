# The schedule of CIFAR-10 in 40 epochs: lambda falls over the first fifth, gamma rises until
# three fifths, the learning rate falls in a cosine instead of steps.
max_epochs = 40

optim_wrapper = dict(
    optimizer=dict(type="SGD", lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4),
    paramwise_cfg=dict(custom_keys={".gate.": dict(decay_mult=0.0)}),
)
param_scheduler = dict(
    type="CosineAnnealingLR", by_epoch=True, T_max=max_epochs, convert_to_iter_based=True
)

train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=10)
val_cfg = dict()
test_cfg = dict()

custom_hooks = [
    dict(
        type="mmbas.GateLossScheduleHook",
        by_epoch=True,
        windows=dict(
            bas=dict(begin=0, end=8, start_factor=1.0, end_factor=0.0),
            l0=dict(begin=8, end=24, start_factor=0.0, end_factor=1.0),
        ),
    ),
    dict(type="mmbas.GateMonitorHook", interval=23),
]
