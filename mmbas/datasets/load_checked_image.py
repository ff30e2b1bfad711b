"""Loads images, and refuses files that end too early."""

from __future__ import annotations

from typing import Any
from urllib.error import URLError

import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine import fileio
from numpy.typing import NDArray

from mmbas.registry import TRANSFORMS

_JPEG_START, _PNG_START = b"\xff\xd8", b"\x89PNG"
_MARKER, _START_OF_SCAN = 0xFF, 0xDA
_JPEG_END, _PNG_END = b"\xff\xd9", b"IEND"


def is_truncated(data: bytes) -> bool:
    """Tell whether a JPEG or PNG file ends before its image does; False for other formats.

    Looks for the end marker only, a few microseconds for a photograph. Bytes after the
    marker are no error.

    Example:
        >>> from mmbas.datasets import is_truncated
        >>> is_truncated(bytes.fromhex("ffd8 ffda 0003 00 1234 ffd9"))  # start, scan, end of image
        False
        >>> is_truncated(bytes.fromhex("ffd8 ffda 0003 00 12"))
        True

    Source:
        ITU-T T.81, annex B: within a scan 0xFF is always escaped, so the end marker is unmistakable
        there; the metadata before it may hold a whole thumbnail with an end marker of its own.
    """
    if data.startswith(_PNG_START):
        return _PNG_END not in data
    if not data.startswith(_JPEG_START):
        return False
    position = len(_JPEG_START)
    while position + 4 <= len(data):
        if data[position] != _MARKER:
            return False  # no sequence of segments: whether it can be read is for the decoder
        if data[position + 1] == _MARKER:
            position += 1  # a filler before the marker
        elif data[position + 1] == _START_OF_SCAN:
            return data.rfind(_JPEG_END, position) < 0
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return True


@TRANSFORMS.register_module()
class LoadCheckedImage(LoadImageFromFile):
    """``mmcv.LoadImageFromFile`` with errors that name the file.

    Some versions of OpenCV fill the missing part of a truncated JPEG with grey and say nothing,
    others return no image. Here a truncated file is an error, as is one that is empty or cannot be
    decoded. Greyscale and CMYK files come out with three channels. The arguments are those of the
    host; with ``ignore_empty=True`` such a file gives None, which a training data set skips.

    Raises:
        ValueError: When a sample is read, if its file is empty, truncated, no image, or at an
            address that does not answer.
        ImportError: If the decoder that ``imdecode_backend`` names is not installed.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Add ``img``, ``img_shape`` and ``ori_shape`` for ``img_path``."""
        try:
            image = self._load(results["img_path"])
        except (OSError, ValueError):
            if self.ignore_empty:
                return None
            raise
        if self.to_float32:
            image = image.astype(np.float32)
        results["img"] = image
        results["img_shape"] = results["ori_shape"] = image.shape[:2]
        return results

    def _load(self, path: str) -> NDArray[Any]:
        """The decoded image, shape (H, W, 3), or (H, W) where ``color_type`` says so."""
        data = self._read(path)
        advice = "replace the file by its original, or take it out of the data set"
        if not data:
            raise ValueError(f"expected an image in {path}, but the file is empty; {advice}")
        if is_truncated(data):
            raise ValueError(
                f"expected a whole image in {path}, but the file ends within it, after "
                f"{len(data)} bytes; {advice}"
            )
        undecodable = f"expected an image in {path}, but it cannot be decoded; {advice}"
        try:
            image = mmcv.imfrombytes(data, flag=self.color_type, backend=self.imdecode_backend)
        except ImportError:  # a decoder that is not installed is not the file's fault
            raise
        except Exception as error:  # each decoder has errors of its own
            raise ValueError(undecodable) from error
        if image is None:
            raise ValueError(undecodable)
        return image

    def _read(self, path: str) -> bytes:
        """The file, through the back end that the arguments name."""
        try:
            if self.file_client_args is None:
                return fileio.get(path, backend_args=self.backend_args)
            client = fileio.FileClient.infer_client(self.file_client_args, path)
            return client.get(path)
        except URLError as error:  # does not say which address
            raise ValueError(
                f"expected an image at {path}, but it cannot be fetched ({error}); check the "
                "network and the address, or put the files on this machine"
            ) from error
