"""Small real and synthetic data sets. Each needs only the host whose base class it extends."""

from importlib.util import find_spec

from mmbas.datasets.held_out import HeldOut

__all__ = ["HeldOut"]

if find_spec("mmcv") is not None:
    from mmbas.datasets.load_checked_image import LoadCheckedImage, is_truncated

    __all__ += ["LoadCheckedImage", "is_truncated"]
if find_spec("cv2") is not None:
    from mmbas.datasets.street_scenes import draw_scene, write_street_scenes

    __all__ += ["draw_scene", "write_street_scenes"]
if find_spec("mmpretrain") is not None:
    from mmbas.datasets.batched_crops import BatchedCrops, keep_batch
    from mmbas.datasets.digits import Digits

    __all__ += ["BatchedCrops", "Digits", "keep_batch"]
if find_spec("mmseg") is not None:
    from mmbas.datasets.camvid import CamVid
    from mmbas.datasets.checked_segmentation import CheckedSegmentation, Cityscapes

    __all__ += ["CamVid", "CheckedSegmentation", "Cityscapes"]
