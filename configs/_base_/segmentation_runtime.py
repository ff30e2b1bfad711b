# What the segmentation experiments share: the runtime of all experiments, counted in iterations.
_base_ = "../default_runtime.py"
default_scope = "mmseg"

default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=2000),
    visualization=dict(_delete_=True, type="SegVisualizationHook"),
)
env_cfg = dict(cudnn_benchmark=True)  # all crops of a run have one size
log_processor = dict(by_epoch=False)
visualizer = dict(type="SegLocalVisualizer")

# Multi-scale test: takes the place of the model, which becomes its module; see tta_pipeline.
tta_model = dict(type="mmbas.GatedSegTTAModel")
