# The paper's schedule of Cityscapes in 10k iterations, for a data set an eighth as large.
_base_ = "segmentation_150k.py"
param_scheduler = dict(end=10_000)
train_cfg = dict(max_iters=10_000, val_interval=2000)
auto_scale_lr = dict(base_batch_size=8)
