"""Writes a network as one file for programs without Python; docs/runtime-file.md has the format."""

from __future__ import annotations

import ctypes
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from mmbas.backbones.description import Description
from mmbas.sliced.native.c_network import CNetwork, ConvValues
from mmbas.sliced.native.structures import (
    BlockStruct,
    ConvStruct,
    GateStruct,
    NetworkStruct,
    ShortcutKind,
)

MAGIC = b"\x89MMBAS\r\n"
VERSION = 1
HEADER_BYTES = 24
ALIGNMENT = 64


@dataclass(frozen=True)
class Head:
    """Layers from the last feature map to the logits; see ``MmbasHead`` of backbone.h.

    Attributes:
        convs: Convolutions with ReLU after each but the last; normalisation folded in.
        average: Average the map to one pixel first.
        pools: Pyramid pooling: windows per side, and the 1x1 convolution of each.
        align_corners: True if the pyramid's maps are resized with their corner pixels aligned.
    """

    convs: Sequence[nn.Conv2d]
    average: bool = False
    pools: Sequence[tuple[int, nn.Conv2d]] = ()
    align_corners: bool = False


@dataclass(frozen=True)
class Preparation:
    """Normalisation of values 0 to 255: the network reads ``(value - mean) / std``.

    Attributes:
        mean: Mean of each channel, in the network's order.
        std: Standard deviation of each channel.
        is_bgr: True if the network reads blue first.
    """

    mean: Sequence[float]
    std: Sequence[float]
    is_bgr: bool = False


def runtime_file(
    description: Description, head: Head | None, preparation: Preparation, texts: Mapping[str, str]
) -> bytes:
    """The bytes of a file.

    Args:
        description: Description of a backbone whose normalisation is folded.
        head: Head of the task, or None if the file shall hold the backbone alone.
        preparation: Normalisation of the images.
        texts: Texts by key, whatever a reader may want to know.
    """
    network = CNetwork(description)
    writer = _NetworkWriter()
    writer.network(network.struct, has_head=head is not None)
    if head is not None:
        writer.head(head)
    numbers = (len(preparation.mean), int(preparation.is_bgr))
    sections = {
        "prepare": struct.pack("<2i", *numbers) + _floats([*preparation.mean, *preparation.std]),
        "text": _texts(texts),
        "network": struct.pack(f"<{len(writer.words)}i", *writer.words),
        "weights": b"".join(writer.weights),
    }
    return _with_header(sections)


class _NetworkWriter:
    """Words that describe a network, and its weights in the same order."""

    def __init__(self) -> None:
        self.words: list[int] = []
        self.weights: list[bytes] = []

    def network(self, network: NetworkStruct, *, has_head: bool) -> None:
        self.words += [network.num_stem, network.max_pool, network.num_blocks, network.num_outputs]
        self.words.append(int(has_head))
        for i in range(network.num_stem):
            self._conv(network.stem[i])
        for i in range(network.num_blocks):
            self._block(network.blocks[i])

    def head(self, head: Head) -> None:
        self.words += [int(head.average), int(head.align_corners), len(head.pools), len(head.convs)]
        for size, conv in head.pools:
            self.words.append(size)
            self._module(conv)
        for conv in head.convs:
            self._module(conv)

    def _module(self, conv: nn.Conv2d) -> None:
        values = ConvValues(conv)
        self._conv(values.struct)

    def _block(self, block: BlockStruct) -> None:
        self.words += [block.num_convs, *block.first_gates, block.has_gate]
        self.words += [block.shortcut, block.pooling, block.output, block.skip]
        for conv in block.convs[: block.num_convs]:
            self._conv(conv)
        if block.shortcut == ShortcutKind.CONV:
            self._conv(block.shortcut_conv)
        if block.has_gate:
            self._gate(block.gate)

    def _conv(self, conv: ConvStruct) -> None:
        self.words += [conv.in_channels, conv.out_channels]
        self.words += [conv.kernel, conv.stride, conv.dilation]
        self._add(conv.weights, conv.out_channels * conv.in_channels * conv.kernel**2)
        self._add(conv.bias, conv.out_channels)

    def _gate(self, gate: GateStruct) -> None:
        self.words += [gate.in_channels, gate.hidden, gate.num_gates]
        self._add(gate.weights, gate.in_channels * gate.hidden)
        self._add(gate.bias, gate.hidden)
        self._add(gate.weights2, gate.num_gates * gate.hidden)
        self._add(gate.bias2, gate.num_gates)

    def _add(self, address: int, count: int) -> None:
        values = ctypes.string_at(address, 4 * count)
        if struct.pack("=i", 1) != struct.pack("<i", 1):
            raise RuntimeError("expected a machine that stores the lowest byte first")
        self.weights.append(values)


def _floats(values: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def _texts(texts: Mapping[str, str]) -> bytes:
    strings = [text.encode() for item in texts.items() for text in item]
    counted = [struct.pack("<I", len(text)) + text for text in strings]
    return struct.pack("<I", len(texts)) + b"".join(counted)


def _with_header(sections: Mapping[str, bytes]) -> bytes:
    """Table and sections, each at a multiple of ``ALIGNMENT``, behind a header with a checksum."""
    table = struct.pack("<2I", len(sections), 0)
    end = HEADER_BYTES + len(table) + 24 * len(sections)
    pieces = []
    for name, content in sections.items():
        padding = -end % ALIGNMENT
        table += struct.pack("<8s2Q", name.encode(), end + padding, len(content))
        pieces += [bytes(padding), content]
        end += padding + len(content)
    body = b"".join([table, *pieces])
    return struct.pack("<8s2IQ", MAGIC, VERSION, zlib.crc32(body), end) + body
