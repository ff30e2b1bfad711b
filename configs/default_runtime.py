# What every experiment shares: hooks, environment, visualizer, seed.
default_scope = "mmpretrain"

default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50),
    param_scheduler=dict(type="ParamSchedulerHook"),
    # The last epoch is the result. A best checkpoint is not kept: it would be chosen on the test
    # images, and in a gated network it comes from early epochs, when all gates are still open.
    checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=3),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    visualization=dict(type="VisualizationHook", enable=False),
    # A resumed run draws the gate noise and the augmentations of an uninterrupted one.
    seed_per_epoch=dict(type="mmbas.SeedPerEpochHook"),
    # Each of several processes has its own statistics of BN; test and checkpoint use their mean.
    sync_buffers=dict(type="SyncBuffersHook"),
    # Resuming works after a kill at any moment, the writing of a checkpoint included.
    whole_checkpoint=dict(type="mmbas.WholeCheckpointHook"),
)

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)

vis_backends = [dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")]
visualizer = dict(type="UniversalVisualizer", vis_backends=vis_backends)

# Each process gets its own seed: gate noise must differ between the parts of a distributed batch.
randomness = dict(seed=0, diff_rank_seed=True, deterministic=False)

# True compiles the training step with torch.compile; on a CPU it then takes 0.6 of the time.
compile = False

log_level = "INFO"
load_from = None
resume = False
