# The paper's schedule of Cityscapes in 1500 iterations, for a machine without a GPU.
_base_ = "segmentation_150k.py"
param_scheduler = dict(end=1500)
train_cfg = dict(max_iters=1500, val_interval=1500)
auto_scale_lr = dict(base_batch_size=4)
