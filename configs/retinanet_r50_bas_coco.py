# Gated RetinaNet-R50 with a feature pyramid on COCO, from a plain ResNet-50 of ImageNet.
#
# Paper: no number, it has no detector.
# Ours: not run.
#
#   tools/dist_train.sh configs/retinanet_r50_bas_coco.py 8
#
# Knob: the price of an open gate: --cfg-options model.gate_losses.l0.loss_weight=0.05
_base_ = [
    "_base_/models/retinanet_r50_bas.py",
    "_base_/datasets/coco_detection.py",
    "_base_/schedules/detection_12e.py",
    "_base_/schedules/gate_monitor.py",
    "_base_/detection_runtime.py",
]
optim_wrapper = dict(optimizer=dict(lr=0.01))
