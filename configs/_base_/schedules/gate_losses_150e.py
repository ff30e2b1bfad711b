# Section 5 of the paper, ImageNet: lambda falls from its full value to 0 over epochs 0 to 20, gamma
# rises from 0 to its full value over epochs 30 to 60 and stays.
custom_hooks = [
    dict(
        type="mmbas.GateLossScheduleHook",
        by_epoch=True,
        windows=dict(
            bas=dict(begin=0, end=20, start_factor=1.0, end_factor=0.0),
            l0=dict(begin=30, end=60, start_factor=0.0, end_factor=1.0),
        ),
    ),
    dict(type="mmbas.GateMonitorHook", interval=50),
]
