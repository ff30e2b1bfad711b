# The recipe, which is not the paper's, for segmentation in 1500 iterations: batch-shaping over the
# first fifth, the target's weight growing from one tenth to two fifths, gate noise falling from
# four to seven tenths, and statistics of the norm layers gathered anew at the end.
# A run of another length changes train_cfg.max_iters, param_scheduler.end and all windows.
_base_ = "segmentation_1500.py"

custom_hooks = [
    dict(
        type="mmbas.GateLossScheduleHook",
        by_epoch=False,
        windows=dict(
            bas=dict(begin=0, end=300, start_factor=1.0, end_factor=0.0),
            target=dict(begin=150, end=600, start_factor=0.0, end_factor=1.0),
        ),
    ),
    dict(
        type="mmbas.GateNoiseScheduleHook",
        by_epoch=False,
        window=dict(begin=600, end=1050, start_factor=1.0, end_factor=0.0),
    ),
    dict(type="mmbas.GateMonitorHook", interval=100),
    dict(type="mmbas.RecalibrateNormsHook", num_images=1000),
]
