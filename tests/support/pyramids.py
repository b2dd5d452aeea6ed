"""Pyramidal TIFF files, which OpenSlide reads as slides."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

TILE = 64  # pixels of the side of the tiles of a level
SHORT, LONG, RATIONAL = 3, 4, 5  # field types


def write_pyramid(path: Path, levels: Sequence[np.ndarray], microns: float | None) -> None:
    """Write levels, uint8 [height, width, 3], the largest first, uncompressed; microns: per pixel of the first."""
    data, last = bytearray(b"II*\0" + bytes(4)), 4  # last: offset of the pointer to the next directory
    for number, image in enumerate(levels):
        height, width = image.shape[:2]
        down, across = -(-height // TILE), -(-width // TILE)
        padded = np.zeros((down * TILE, across * TILE, 3), np.uint8)
        padded[:height, :width] = image
        tiles = padded.reshape(down, TILE, across, TILE, 3).swapaxes(1, 2)
        offsets = len(data) + np.arange(down * across) * TILE**2 * 3
        data += tiles.tobytes()
        fields = {254: (LONG, [int(number > 0)]), 256: (LONG, [width]), 257: (LONG, [height])}
        fields |= {258: (SHORT, [8] * 3), 259: (SHORT, [1]), 262: (SHORT, [2]), 277: (SHORT, [3])}
        if microns:
            per_centimetre = [round(10_000_000 / microns / 2**number), 1000]
            fields |= {282: (RATIONAL, per_centimetre), 283: (RATIONAL, per_centimetre), 296: (SHORT, [3])}
        fields |= {322: (SHORT, [TILE]), 323: (SHORT, [TILE]), 324: (LONG, offsets.tolist())}
        fields[325] = LONG, [TILE**2 * 3] * (down * across)
        entries = b""
        for tag, (kind, values) in sorted(fields.items()):
            packed = struct.pack(f"<{len(values)}{'H' if kind == SHORT else 'I'}", *values)
            if len(packed) > 4:
                packed, place = struct.pack("<I", len(data)), packed
                data += place
            count = len(values) // 2 if kind == RATIONAL else len(values)
            entries += struct.pack("<HHI", tag, kind, count) + packed.ljust(4, b"\0")
        struct.pack_into("<I", data, last, len(data))
        data += struct.pack("<H", len(fields)) + entries
        last = len(data)
        data += bytes(4)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
