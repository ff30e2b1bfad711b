"""One way to run a network without gates, and the images that it runs on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mmbas.measure.timing import interleaved_seconds, median_ms

Call = Callable[[], object]
LAYOUTS = {"nchw": torch.contiguous_format, "nhwc": torch.channels_last}


@dataclass(frozen=True)
class DenseRun:
    """A network without gates, ready to be timed.

    Attributes:
        library: ``torch eager``, ``torch compiled``, ``onnxruntime`` or ``openvino``.
        version: Version of that library.
        precision: Precision of the convolutions: a dtype of torch, or ``int8``.
        infer: Computes the output of one prepared batch.
        inputs: The batches of images as ``infer`` takes them.
        layout: Memory layout of the images, a key of ``LAYOUTS``.
    """

    library: str
    version: str
    precision: str
    infer: Callable[[Any], Any]
    inputs: Sequence[Any]
    layout: str = "nchw"

    @property
    def name(self) -> str:
        """Library and precision."""
        return f"{self.library} {self.precision}"

    def call(self) -> Call:
        """A function that runs the network on the next batch each time it is called."""
        infer, rounds = self.infer, itertools.cycle(self.inputs)
        return lambda: infer(next(rounds))


class ImageForms:
    """The same images in the forms that libraries take, each made once and shared.

    Args:
        images: Batches of shape (N, 3, H, W), float32, all on one device.
    """

    def __init__(self, images: Sequence[Tensor]) -> None:
        self.images = images
        self._forms: dict[tuple[torch.dtype, str], list[Tensor]] = {}

    def tensors(self, dtype: torch.dtype, layout: str = "nchw") -> list[Tensor]:
        """Tensors of a dtype in a memory layout, a key of ``LAYOUTS``."""
        if (dtype, layout) not in self._forms:
            memory_format = LAYOUTS[layout]
            self._forms[dtype, layout] = [
                images.to(dtype, memory_format=memory_format) for images in self.images
            ]
        return self._forms[dtype, layout]

    def arrays(self) -> list[Any]:
        """Arrays of numpy, float32."""
        return [images.numpy() for images in self.tensors(torch.float32)]

    @property
    def device(self) -> str:
        """Where the images are, ``cpu`` or ``cuda``."""
        return self.images[0].device.type

    @property
    def one_shape(self) -> bool:
        """Tell whether all batches have the same shape."""
        return len({images.shape for images in self.images}) == 1


def fastest(calls: dict[str, Call], *, repeats: int, device: str) -> str:
    """Name of the function that is fastest, by fewer calls in turns than are counted later."""
    trials = min(3, 1 + repeats // 5)
    seconds = interleaved_seconds(calls, repeats=trials, warmup=1, device=device)
    return min(calls, key=lambda name: median_ms(seconds[name]))
