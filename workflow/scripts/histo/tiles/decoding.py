"""Decoding of tile files: 96 × 96 pixels of three 8-bit channels, decoded exactly or rejected with a fault.

Pillow defines what a file contains. It takes about 190 µs per tile, most of it to parse a header that thousands of
files have in common (in the competition's archive, headers differ only in their date). The decoder therefore learns
file layouts: once Pillow has shown that, under a given header, the pixels are one contiguous run of raw bytes, further
files that agree in all bytes outside that run are decoded by slicing. The result is exactly what Pillow would return.
"""

import io
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from histo.geometry import SHAPE, SIDE, TILE_BYTES

_INVERT = bytes(range(255, -1, -1))
_MAX_LAYOUTS = 1024  # a sample of 4,122 original tiles has 39; a hostile archive may have any number


@dataclass(frozen=True)
class Decoded:
    """The result of decoding one file.

    pixels: uint8 [96, 96, 3], RGB, read-only, or None when `fault` is set; width, height in pixels and mode as named
    by Pillow (0 and "" when not even the header is readable); fault: a key of `histo.faults.FAULTS` or "".
    """

    pixels: npt.NDArray[np.uint8] | None
    width: int = SIDE
    height: int = SIDE
    mode: str = "RGB"
    fault: str = ""
    detail: str = ""


class Decoder:
    """Decode tiles; remember the file layouts seen so far."""

    def __init__(self) -> None:
        self._layouts: set[tuple[bytes, bytes]] = set()  # the bytes before and after the pixels
        self._strips: set[tuple[int, int]] = set()  # length of the file and offset of the pixels, bytes

    def decode(self, data: bytes) -> Decoded:
        """Decode one file, given its bytes. Never raises, whatever the bytes are."""
        for length, offset in self._strips:
            if len(data) == length and (data[:offset], data[offset + TILE_BYTES :]) in self._layouts:
                return Decoded(np.frombuffer(data, np.uint8, TILE_BYTES, offset).reshape(SHAPE))
        if not data:
            return Decoded(None, 0, 0, "", "empty_file", "0 bytes")
        decoded, strip = _decode_with_pillow(data)
        if strip is not None and len(self._layouts) < _MAX_LAYOUTS:
            self._learn(data, strip, decoded)
        return decoded

    def _learn(self, data: bytes, offset: int, decoded: Decoded) -> None:
        """Remember the layout of `data` if its pixels are the raw bytes from `offset` on, for any pixel values."""
        head, strip, tail = data[:offset], data[offset : offset + TILE_BYTES], data[offset + TILE_BYTES :]
        if len(strip) != TILE_BYTES or decoded.pixels is None or decoded.pixels.tobytes() != strip:
            return
        # Part of the header may lie inside the strip: verify that other pixel values decode correctly too.
        inverse = strip.translate(_INVERT)
        again, _ = _decode_with_pillow(head + inverse + tail)
        if again.pixels is not None and again.pixels.tobytes() == inverse:
            self._layouts.add((head, tail))
            self._strips.add((len(data), offset))


def _decode_with_pillow(data: bytes) -> tuple[Decoded, int | None]:
    """Decode with Pillow; also return the offset of the pixels if the file stores them as one run of raw bytes."""
    width = height = 0
    mode = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the checks below find everything that matters here
            with Image.open(io.BytesIO(data), formats=("TIFF", "PNG")) as image:
                (width, height), mode = image.size, image.mode
                # Check the size before decoding: a header may claim gigabytes.
                if (width, height) != (SIDE, SIDE):
                    return Decoded(None, width, height, mode, "wrong_size", f"{width} × {height} pixels"), None
                raw = _raw_modes(image)
                if mode != "RGB" or not raw <= {"RGB", "R", "G", "B"}:
                    found = mode if mode != "RGB" else "RGB from " + ", ".join(sorted(raw))
                    return Decoded(None, width, height, mode, "wrong_mode", f"channels {found}"), None
                pages = getattr(image, "n_frames", 1)
                if pages != 1:
                    return Decoded(None, width, height, mode, "unreadable", f"{pages} pages, expected one"), None
                strip = _raw_strip(image)
                pixels = np.asarray(image)
    except Exception as error:
        # Pillow raises many types of exceptions on damaged files; all of them mean the same here.
        detail = f"{type(error).__name__}: {error}".replace("\n", " ")[:200]
        if not data.startswith((b"II*\0", b"MM\0*", b"\x89PNG")):
            detail = f"neither TIFF nor PNG: begins with {data[:8].hex(' ')}"
        return Decoded(None, width, height, mode, "unreadable", detail), None
    if pixels.shape != SHAPE or pixels.dtype != np.uint8:
        # Happens when a tag rotates the image after its size was read.
        detail = f"{pixels.dtype} array of shape {pixels.shape}"
        return Decoded(None, width, height, mode, "wrong_mode", detail), None
    return Decoded(np.ascontiguousarray(pixels)), strip


def _raw_strip(image: ImageFile.ImageFile) -> int | None:
    """Return the offset of the pixels in the file if they are one run of raw bytes, else None."""
    if len(image.tile) != 1:
        return None
    codec, extents, offset, arguments = image.tile[0]
    if codec != "raw" or extents is None or tuple(extents) != (0, 0, SIDE, SIDE) or not isinstance(arguments, tuple):
        return None
    return offset if arguments[1] == 0 else None


def _raw_modes(image: ImageFile.ImageFile) -> set[str]:
    """Return how the file stores its samples ("RGB", "RGB;16B", "RGBX", …): Pillow opens some 16-bit files as RGB."""
    modes = set()
    for _, _, _, arguments in image.tile:
        modes.add(str(arguments[0] if isinstance(arguments, (tuple, list)) else arguments))
    return modes
