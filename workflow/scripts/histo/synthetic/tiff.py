"""Write TIFF files in the layout of the original tiles, byte for byte as tifffile wrote them in 2018.

One uncompressed strip after one directory. Field names follow TIFF revision 6.0, Adobe 1992.
"""

import struct
from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

SHORT, LONG, ASCII = 3, 4, 2  # field types


@cache
def tiff_header(height: int, width: int, channels: int, date_time: str) -> bytes:
    """Return the bytes before the pixels: directory and values, little endian.

    date_time: "YYYY:MM:DD HH:MM:SS", the only field in which the headers of two original tiles differ.
    """
    shape = [height, width] if channels == 1 else [height, width, channels]
    description = f'{{"shape": {shape}}}\0'.encode()
    strip_offsets = 273
    fields: list[tuple[int, str, int, Sequence[int]]] = [
        (254, "NewSubfileType", LONG, [0]),
        (256, "ImageWidth", LONG, [width]),
        (257, "ImageLength", LONG, [height]),
        (258, "BitsPerSample", SHORT, [8] * channels),
        (259, "Compression", SHORT, [1]),  # none
        (262, "PhotometricInterpretation", SHORT, [1 if channels == 1 else 2]),  # 1: black is zero; 2: RGB
        (270, "ImageDescription", ASCII, description),
        (strip_offsets, "StripOffsets", LONG, [0]),  # known once all other fields are packed
        (277, "SamplesPerPixel", SHORT, [channels]),
        (278, "RowsPerStrip", LONG, [height]),
        (279, "StripByteCounts", LONG, [height * width * channels]),
        (284, "PlanarConfiguration", SHORT, [1]),
        (305, "Software", ASCII, b"tifffile.py\0"),
        (306, "DateTime", ASCII, date_time.encode() + b"\0"),
        (339, "SampleFormat", SHORT, [1]),  # unsigned
    ]
    if channels == 4:
        fields.insert(-1, (338, "ExtraSamples", SHORT, [2]))  # the fourth channel is opacity
    values_offset = 8 + 2 + 12 * len(fields) + 4  # of the values that do not fit into their directory entry
    entries: dict[int, bytes] = {}
    values = b""
    for tag, name, kind, value in fields:
        packed = bytes(value) if kind == ASCII else struct.pack(f"<{len(value)}{'H' if kind == SHORT else 'I'}", *value)
        if len(packed) > 4:
            content = struct.pack("<I", values_offset + len(values))
            values += packed + bytes(32 if name == "ImageDescription" else 0)  # tifffile reserves room for changes
        else:
            content = packed.ljust(4, b"\0")
        entries[tag] = struct.pack("<HHI", tag, kind, len(value)) + content
    entries[strip_offsets] = struct.pack("<HHII", strip_offsets, LONG, 1, values_offset + len(values))
    return b"II*\0" + struct.pack("<IH", 8, len(fields)) + b"".join(entries.values()) + bytes(4) + values


def tiff(pixels: npt.NDArray[np.uint8], date_time: str = "2018:11:15 17:21:33") -> bytes:
    """Return the file of uint8 pixels [height, width] (grey), [height, width, 3] (RGB) or [height, width, 4] (RGBA)."""
    height, width, channels = (*pixels.shape, 1)[:3]
    return tiff_header(height, width, channels, date_time) + pixels.tobytes()
