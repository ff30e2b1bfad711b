"""MMSegmentation's data sets with clear errors for files that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmseg.datasets import BaseSegDataset, CityscapesDataset

from mmbas.datasets.load_checked_image import is_truncated
from mmbas.registry import DATASETS


class CheckedSegmentation(BaseSegDataset):
    """Put before a data set class of MMSegmentation, or extend it.

    The host finds an empty folder when a sampler fails, a missing annotation when its turn comes,
    and a label outside the classes as a failed assertion on the GPU. Here the first two are errors
    before training starts, and the last one names the file, as does one for a file that is empty or
    cut off.

    Attributes:
        label_advice: Advice about labels outside the classes.
        missing_advice: Advice about annotations that are missing.

    Raises:
        ValueError: If there are no images, an image or an annotation is missing, or, when a sample
            is read, its annotation has a label that is neither a class nor ``ignore_index``.
    """

    label_advice = "correct the annotation, or map the label with metainfo.classes"
    missing_advice = "add it, or take the image out of the data set"

    def load_data_list(self) -> list[dict[str, Any]]:
        """The host's list of images and annotations, all of which exist."""
        local = (self.backend_args or {}).get("backend", "local") == "local"
        if local and not self.ann_file:
            self._check_images()
        data_list: list[dict[str, Any]] = super().load_data_list()
        if local:
            for key, what, advice in (
                ("img_path", "image", "add it, or take its entry out"),
                ("seg_map_path", "annotation", self.missing_advice),
            ):
                self._check_exist([entry[key] for entry in data_list if key in entry], what, advice)
        return data_list

    def prepare_data(self, idx: int) -> Any:
        """One sample through the pipeline, its labels checked."""
        try:
            data = super().prepare_data(idx)
        except Exception as error:
            self._check_whole(idx, error)
            raise
        packed = data.get("data_samples") if isinstance(data, dict) else None
        for sample in packed if isinstance(packed, list) else [packed]:
            if sample is not None and "gt_sem_seg" in sample:
                self._check_labels(sample.gt_sem_seg.data, idx)
        return data

    def _check_whole(self, idx: int, error: Exception) -> None:
        """Name the file that cannot be read: decoders say what is wrong, but not where."""
        for key in ("img_path", "seg_map_path"):
            path = Path(self.get_data_info(idx).get(key) or "")
            data = path.read_bytes() if path.is_file() else None
            if data is not None and (not data or is_truncated(data)):
                fault = "ends within it" if data else "is empty"
                raise ValueError(
                    f"expected a whole image in {path}, but the file {fault}; replace it by its "
                    "original, or take it out of the data set"
                ) from error

    def _check_images(self) -> None:
        folder = Path(self.data_prefix["img_path"])
        advice = "set the folder with data_root and data_prefix.img_path"
        if not folder.is_dir():
            raise ValueError(
                f"expected images in the folder {folder}, but it does not exist; {advice}"
            )
        suffix = self.img_suffix
        if any(path.name.endswith(suffix) for path in folder.rglob("*")):
            return
        others = {path.suffix for path in folder.rglob("*") if path.is_file()}
        found = f"only files ending in {', '.join(sorted(others))}" if others else "no files"
        raise ValueError(
            f"expected images ending in {suffix} in the folder {folder}, but found {found}; "
            f"{advice}, the ending with img_suffix"
        )

    def _check_exist(self, paths: list[str], what: str, advice: str) -> None:
        missing = [path for path in paths if not Path(path).is_file()]
        if missing:
            raise ValueError(
                f"expected an {what} for each of {len(paths)} entries, but {len(missing)} "
                f"{'is' if len(missing) == 1 else 'are'} missing, e.g. {missing[0]}; {advice}"
            )

    def _check_labels(self, labels: Any, idx: int) -> None:
        num_classes = len(self._metainfo.get("classes") or ())
        if not num_classes:  # a data set that names no classes has no range of labels
            return
        foreign = labels[(labels >= num_classes) & (labels != self.ignore_index)]
        if foreign.numel():
            raise ValueError(
                f"expected labels from 0 to {num_classes - 1}, or {self.ignore_index} for ignored "
                f"pixels, in {self.get_data_info(idx)['seg_map_path']}, but got "
                f"{foreign.unique().tolist()}; {self.label_advice}"
            )


@DATASETS.register_module()
class Cityscapes(CheckedSegmentation, CityscapesDataset):
    """``mmseg.CityscapesDataset`` with the checks of :class:`CheckedSegmentation`."""

    missing_advice = (
        "the download has no *_gtFine_labelTrainIds.png, MMSegmentation's "
        "tools/dataset_converters/cityscapes.py makes them"
    )
    label_advice = (
        "training needs the 19 train ids of *_gtFine_labelTrainIds.png, not the label ids of the "
        "download; MMSegmentation's tools/dataset_converters/cityscapes.py makes them"
    )
