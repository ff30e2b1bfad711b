# segmentation_recipe_1500.py in MMSegmentation's 40k iterations with 8 images each.
_base_ = "segmentation_40k.py"

custom_hooks = [
    dict(
        type="mmbas.GateLossScheduleHook",
        by_epoch=False,
        windows=dict(
            bas=dict(begin=0, end=8000, start_factor=1.0, end_factor=0.0),
            target=dict(begin=4000, end=16_000, start_factor=0.0, end_factor=1.0),
        ),
    ),
    dict(
        type="mmbas.GateNoiseScheduleHook",
        by_epoch=False,
        window=dict(begin=16_000, end=28_000, start_factor=1.0, end_factor=0.0),
    ),
    dict(type="mmbas.GateMonitorHook", interval=100),
    dict(type="mmbas.RecalibrateNormsHook", num_images=3000),
]
