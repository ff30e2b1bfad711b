# Plain Faster R-CNN-R50 with a feature pyramid on COCO: the rival of faster_rcnn_r50_bas_coco.py.
#
# Paper: no number, it has no detector.
# Ours: not run.
#
#   tools/dist_train.sh configs/faster_rcnn_r50_coco.py 8
_base_ = [
    "_base_/models/faster_rcnn_r50.py",
    "_base_/datasets/coco_detection.py",
    "_base_/schedules/detection_12e.py",
    "_base_/detection_runtime.py",
]
