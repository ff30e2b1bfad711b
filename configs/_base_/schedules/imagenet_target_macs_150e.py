# The target-MACs recipe, which is not the paper's, on ImageNet: the paper's number of epochs and
# batch-shaping window, the target's weight growing from epoch 10 to 60, a cosine learning rate.
# A run of another length changes train_cfg.max_epochs, param_scheduler.T_max and the windows.
_base_ = "imagenet_150e.py"
param_scheduler = dict(
    _delete_=True, type="CosineAnnealingLR", by_epoch=True, T_max=150, convert_to_iter_based=True
)

custom_hooks = [
    dict(
        type="mmbas.GateLossScheduleHook",
        by_epoch=True,
        windows=dict(
            bas=dict(begin=0, end=20, start_factor=1.0, end_factor=0.0),
            target=dict(begin=10, end=60, start_factor=0.0, end_factor=1.0),
        ),
    ),
    dict(type="mmbas.GateMonitorHook", interval=50),
]
