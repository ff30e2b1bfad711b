# The recipe, which is not the paper's, on CIFAR-10: the target-MACs schedule, gate noise that falls
# from its full size to 0 between four and seven tenths of the training, so that the rest is trained
# with the gates of evaluation, and statistics of the norm layers gathered anew at the end.
# A run of another length changes train_cfg.max_epochs, param_scheduler.T_max and all windows.
_base_ = "cifar10_target_macs_100e.py"

custom_hooks = [
    dict(
        type="mmbas.GateLossScheduleHook",
        by_epoch=True,
        windows=dict(
            bas=dict(begin=0, end=20, start_factor=1.0, end_factor=0.0),
            target=dict(begin=10, end=40, start_factor=0.0, end_factor=1.0),
        ),
    ),
    dict(
        type="mmbas.GateNoiseScheduleHook",
        by_epoch=True,
        window=dict(begin=40, end=70, start_factor=1.0, end_factor=0.0),
    ),
    dict(type="mmbas.GateMonitorHook", interval=50),
    dict(type="mmbas.RecalibrateNormsHook", num_images=10_000),
]
