# The target-MACs recipe, which is not the paper's, on CIFAR-10. Batch-shaping makes the gates
# conditional over the first fifth, the target's weight grows from one tenth to two fifths.
# A run of another length changes train_cfg.max_epochs, param_scheduler.T_max and the windows.
_base_ = "cifar10_500e.py"
max_epochs = 100

param_scheduler = dict(
    _delete_=True,
    type="CosineAnnealingLR",
    by_epoch=True,
    T_max=max_epochs,
    convert_to_iter_based=True,
)
train_cfg = dict(max_epochs=max_epochs)

custom_hooks = [
    dict(
        type="mmbas.GateLossScheduleHook",
        by_epoch=True,
        windows=dict(
            bas=dict(begin=0, end=20, start_factor=1.0, end_factor=0.0),
            target=dict(begin=10, end=40, start_factor=0.0, end_factor=1.0),
        ),
    ),
    dict(type="mmbas.GateMonitorHook", interval=50),
]
