# Reports what the gates do; at 6 images an iteration, each report covers 600 images.
custom_hooks = [dict(type="mmbas.GateMonitorHook", interval=100)]
