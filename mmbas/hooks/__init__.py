"""Hooks: changes during training."""

from mmbas.hooks.curves import Curve
from mmbas.hooks.gate_loss_schedule_hook import GateLossScheduleHook
from mmbas.hooks.gate_monitor_hook import GateMonitorHook
from mmbas.hooks.gate_noise_schedule_hook import GateNoiseScheduleHook
from mmbas.hooks.norm_statistics import recalibrate_norms
from mmbas.hooks.recalibrate_norms_hook import RecalibrateNormsHook
from mmbas.hooks.schedules import LinearWindow
from mmbas.hooks.seed_per_epoch_hook import SeedPerEpochHook
from mmbas.hooks.setting_schedule_hook import SettingScheduleHook
from mmbas.hooks.whole_checkpoint_hook import WholeCheckpointHook

__all__ = [
    "Curve",
    "GateLossScheduleHook",
    "GateMonitorHook",
    "GateNoiseScheduleHook",
    "LinearWindow",
    "RecalibrateNormsHook",
    "SeedPerEpochHook",
    "SettingScheduleHook",
    "WholeCheckpointHook",
    "recalibrate_norms",
]
