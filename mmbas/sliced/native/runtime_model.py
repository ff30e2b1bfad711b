"""Runs a runtime file from Python, through the same C interface as any other program."""

from __future__ import annotations

import ctypes
import weakref
from ctypes import POINTER, Structure, c_char_p, c_float, c_int32, c_int64, c_void_p, cast
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mmbas.sliced.native.library import get_library

PRECISIONS = ("float32", "bfloat16")


class _OpenOptions(Structure):
    """``MmbasOpenOptions`` of include/mmbas.h."""

    _fields_ = (("precision", c_int32), ("kernels", c_char_p))


class _Images(Structure):
    """``MmbasImages``."""

    _fields_ = (
        ("data", c_void_p),
        ("type", c_int32),
        ("layout", c_int32),
        ("order", c_int32),
        ("normalized", c_int32),
        ("num_images", c_int32),
        ("height", c_int32),
        ("width", c_int32),
    )


class _Results(Structure):
    """``MmbasResults``."""

    _fields_ = tuple((name, c_void_p) for name in ("logits", "features", "gates", "macs"))


class _Info(Structure):
    """``MmbasInfo``."""

    _fields_ = (
        ("num_outputs", c_int32),
        ("num_gates", c_int32),
        ("num_classes", c_int32),
        ("dense", c_int32),
        ("image_channels", c_int32),
        ("order", c_int32),
        ("mean", c_float * 4),
        ("std", c_float * 4),
        ("kernels", c_char_p),
        ("weight_bytes", c_int64),
    )


@dataclass(frozen=True)
class RuntimeResults:
    """Results of a batch.

    Attributes:
        logits: Shape (N, classes), or (N, classes, H', W'); None where the file has no head.
        features: The outputs of the backbone, each (N, C, H', W').
        gates: Open gates of all blocks, (N, G), bool.
        macs: Multiply-accumulates that each image took, (N,).
    """

    logits: Tensor | None
    features: list[Tensor]
    gates: Tensor
    macs: Tensor


class RuntimeModel:
    """A network in a file of ``tools/export_runtime.py``.

    Args:
        path: The file.
        precision: ``'float32'`` or ``'bfloat16'``, of the backbone.
        kernels: Name of the kernels, such as ``'generic'``; None is the fastest.

    Attributes:
        info: ``MmbasInfo`` of include/mmbas.h, such as ``num_gates``, ``num_classes``, ``kernels``.

    Raises:
        ValueError: If the file cannot be used or this CPU has no such kernels.
    """

    def __init__(
        self, path: str | Path, *, precision: str = "float32", kernels: str | None = None
    ) -> None:
        self._library = _declared(get_library())
        name = None if kernels is None else kernels.encode()
        options = _OpenOptions(PRECISIONS.index(precision), name)
        handle = self._library.mmbas_open(str(path).encode(), ctypes.byref(options))
        if not handle:
            raise ValueError(f"expected a runtime file, but {self._error()}")
        self._handle = handle
        self._closed = weakref.finalize(self, self._library.mmbas_close, handle)
        self.info = _Info()
        self._library.mmbas_describe(handle, ctypes.byref(self.info))

    def text(self, key: str) -> str | None:
        """Text of the file under a key, such as ``'classes'``."""
        value: bytes | None = self._library.mmbas_text(self._handle, key.encode())
        return None if value is None else value.decode()

    def __call__(
        self, images: Tensor, *, channels_last: bool = False, bgr: bool = False
    ) -> RuntimeResults:
        """Run a batch with as many threads as torch uses.

        Args:
            images: Values 0 to 255, float32 or uint8, shape (N, 3, H, W) or, with
                ``channels_last``, (N, H, W, 3).
            channels_last: Order of the dimensions.
            bgr: True if blue comes first.

        Raises:
            ValueError: If the images cannot be run.
        """
        types = {torch.float32: 0, torch.uint8: 1}
        channels = images.shape[3 if channels_last else 1] if images.ndim == 4 else 0
        if channels != self.info.image_channels or images.dtype not in types:
            raise ValueError(
                f"expected float32 or uint8 images of {self.info.image_channels} channels, but got "
                f"{images.dtype} of shape {tuple(images.shape)}"
            )
        images = images.contiguous()
        height, width = images.shape[1:3] if channels_last else images.shape[2:]
        arguments = _Images(
            data=images.data_ptr(),
            type=types[images.dtype],
            layout=int(channels_last),
            order=int(bgr),
            num_images=len(images),
            height=height,
            width=width,
        )
        results = self._empty_results(len(images), height, width)
        pointers = (c_void_p * len(results.features))(*(f.data_ptr() for f in results.features))
        c_results = _Results(
            logits=None if results.logits is None else results.logits.data_ptr(),
            features=cast(pointers, c_void_p),
            gates=results.gates.data_ptr(),
            macs=results.macs.data_ptr(),
        )
        threads = torch.get_num_threads()
        run = self._library.mmbas_run
        if run(self._handle, ctypes.byref(arguments), threads, ctypes.byref(c_results)):
            raise ValueError(f"expected images that can be run, but {self._error()}")
        return results

    def _empty_results(self, num_images: int, height: int, width: int) -> RuntimeResults:
        shape = (c_int32 * 3)()
        features = []
        for output in range(self.info.num_outputs):
            self._library.mmbas_output_shape(self._handle, output, height, width, shape)
            features.append(torch.empty(num_images, *shape))
        logits = None
        if self.info.num_classes:
            self._library.mmbas_logits_shape(self._handle, height, width, shape)
            logits = torch.empty(num_images, *(shape if self.info.dense else shape[:1]))
        gates = torch.empty(num_images, self.info.num_gates, dtype=torch.bool)
        return RuntimeResults(logits, features, gates, torch.empty(num_images, dtype=torch.int64))

    def _error(self) -> str:
        text: bytes = self._library.mmbas_last_error()
        return text.decode()


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    model, size = c_void_p, (c_int32, c_int32)
    library.mmbas_open.argtypes = [c_char_p, POINTER(_OpenOptions)]
    library.mmbas_open.restype = model
    library.mmbas_close.argtypes = [model]
    library.mmbas_close.restype = None
    library.mmbas_describe.argtypes = [model, POINTER(_Info)]
    library.mmbas_describe.restype = None
    library.mmbas_text.argtypes = [model, c_char_p]
    library.mmbas_text.restype = c_char_p
    library.mmbas_output_shape.argtypes = [model, c_int32, *size, c_int32 * 3]
    library.mmbas_logits_shape.argtypes = [model, *size, c_int32 * 3]
    library.mmbas_run.argtypes = [model, POINTER(_Images), c_int32, POINTER(_Results)]
    library.mmbas_last_error.restype = c_char_p
    return library
