"""Writing TIFFs in the layout of the original tiles: what tifffile made of them in 2018, byte for byte.

One uncompressed strip after one directory. TIFF revision 6.0, Adobe 1992, names the fields.
"""

import struct
from functools import cache

import numpy as np

SHORT, LONG, ASCII = 3, 4, 2  # types of fields


@cache
def tiff_header(height: int, width: int, channels: int, date_time: str) -> bytes:
    """What comes before the pixels: tags, values, and nothing else; little endian.

    date_time: "YYYY:MM:DD HH:MM:SS", the one thing in which the headers of two originals differ.
    """
    shape = [height, width] if channels == 1 else [height, width, channels]
    description = f'{{"shape": {shape}}}\0'.encode()
    fields = [
        (254, "NewSubfileType", LONG, [0]),
        (256, "ImageWidth", LONG, [width]),
        (257, "ImageLength", LONG, [height]),
        (258, "BitsPerSample", SHORT, [8] * channels),
        (259, "Compression", SHORT, [1]),  # none
        (262, "PhotometricInterpretation", SHORT, [1 if channels == 1 else 2]),  # black is zero, RGB
        (270, "ImageDescription", ASCII, description),
        (273, "StripOffsets", LONG, None),
        (277, "SamplesPerPixel", SHORT, [channels]),
        (278, "RowsPerStrip", LONG, [height]),
        (279, "StripByteCounts", LONG, [height * width * channels]),
        (284, "PlanarConfiguration", SHORT, [1]),
        (305, "Software", ASCII, b"tifffile.py\0"),
        (306, "DateTime", ASCII, date_time.encode() + b"\0"),
        (339, "SampleFormat", SHORT, [1]),  # unsigned
    ]
    if channels == 4:
        fields.insert(-1, (338, "ExtraSamples", SHORT, [2]))  # the fourth is opacity
    values = 8 + 2 + 12 * len(fields) + 4  # where values stand that do not fit into their entry
    entries, outside = [], b""
    for tag, name, kind, value in fields:
        if name == "StripOffsets":
            strip = len(entries)
            entries.append(b"")
            continue
        packed = value if kind == ASCII else struct.pack(f"<{len(value)}{'H' if kind == SHORT else 'I'}", *value)
        if len(packed) > 4:
            place = struct.pack("<I", values + len(outside))
            outside += packed + bytes(32 if name == "ImageDescription" else 0)  # tifffile leaves room to rewrite it
        else:
            place = packed.ljust(4, b"\0")
        entries.append(struct.pack("<HHI", tag, kind, len(value)) + place)
    entries[strip] = struct.pack("<HHII", 273, LONG, 1, values + len(outside))
    return b"II*\0" + struct.pack("<IH", 8, len(fields)) + b"".join(entries) + bytes(4) + outside


def tiff(pixels: np.ndarray, date_time: str = "2018:11:15 17:21:33") -> bytes:
    """The TIFF of uint8 pixels [height, width] (grey), [height, width, 3] (RGB) or [height, width, 4] (RGBA)."""
    height, width, channels = (*pixels.shape, 1)[:3]
    return tiff_header(height, width, channels, date_time) + pixels.tobytes()
