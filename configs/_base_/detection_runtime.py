# What the detection experiments share: the runtime of all experiments, with MMDetection's parts.
_base_ = "../default_runtime.py"
default_scope = "mmdet"

# Where mmcv has no compiled operators, as in its maintained distribution, torchvision's NMS and RoI
# align take their place; elsewhere this changes nothing.
custom_imports = dict(imports=["mmbas.torchvision_operators"])

default_hooks = dict(visualization=dict(_delete_=True, type="DetVisualizationHook"))
visualizer = dict(type="DetLocalVisualizer")
