"""CamVid, the small real data set of street scenes: 367 + 101 + 233 images of 480x360 pixels.

G. J. Brostow, J. Shotton, J. Fauqueur, R. Cipolla: Segmentation and Recognition Using Structure
from Motion Point Clouds, ECCV 2008. The split and the 11 classes are those of V. Badrinarayanan,
A. Kendall, R. Cipolla: SegNet, https://arxiv.org/abs/1511.00561
"""

from __future__ import annotations

from collections.abc import Sequence

from mmbas.datasets.checked_segmentation import CheckedSegmentation
from mmbas.registry import DATASETS

VOID = 11
IGNORED = 255


@DATASETS.register_module()
class CamVid(CheckedSegmentation):
    """Images and index PNGs of CamVid; void pixels count in neither loss nor metric.

    ``data_root`` holds ``images/{train,val,test}/NAME.jpg`` and
    ``annotations/{train,val,test}/NAME.png``, with the classes 0 to 10 in the order below and 11
    for void; other folders and endings are set with ``data_prefix`` and ``img_suffix``. The
    arguments are those of ``mmseg.BaseSegDataset``. ``docs/data.md`` says where to get the data.
    """

    METAINFO = {  # noqa: RUF012
        "classes": (
            "Sky",
            "Building",
            "Pole",
            "Road",
            "Pavement",
            "Tree",
            "SignSymbol",
            "Fence",
            "Car",
            "Pedestrian",
            "Bicyclist",
        ),
        "palette": [
            [128, 128, 128],
            [128, 0, 0],
            [192, 192, 128],
            [128, 64, 128],
            [60, 40, 222],
            [128, 128, 0],
            [192, 128, 128],
            [64, 64, 128],
            [64, 0, 128],
            [64, 64, 0],
            [0, 128, 192],
        ],
    }
    label_advice = "CamVid has the classes 0 to 10 and 11 for void"

    @classmethod
    def get_label_map(cls, new_classes: Sequence[str] | None = None) -> dict[int, int]:
        """New label of each old one that changes: void is ignored.

        ``LoadAnnotations`` applies it, the host's own way to choose among the classes.
        """
        label_map: dict[int, int] | None = super().get_label_map(new_classes)
        return {**(label_map or {}), VOID: IGNORED}
