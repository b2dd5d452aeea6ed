"""Tiles as files: 96 × 96 pixels of three 8-bit channels, decoded exactly or refused.

Pillow decides what is a tile. It needs some 190 µs for each, most of it for a header that thousands of files share (in
the competition's archive headers differ in their date alone), so a header is learned once: when Pillow has shown that
under this header the pixels are a plain run of bytes of the file, files that agree in every other byte are read by
slicing. What such a file holds is then exactly what Pillow would have read from it.
"""

import io
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image

from histo.tiles.geometry import SIDE, TILE_BYTES

_INVERSE = bytes(range(255, -1, -1))
_LAYOUTS = 1024  # headers remembered; a sample of 4,122 original tiles has 39, a hostile archive may have any number


@dataclass(frozen=True)
class Decoded:
    """What a file turned out to be.

    pixels: uint8 [96, 96, 3], RGB, read-only, or None when `fault` is set; width, height in pixels and mode in
    Pillow's terms (0 and "" where not even the header could be read); fault: a code of `FAULTS` or "".
    """

    pixels: np.ndarray | None
    width: int = SIDE
    height: int = SIDE
    mode: str = "RGB"
    fault: str = ""
    detail: str = ""


class Decoder:
    """Decodes tiles and remembers the layouts that it has met."""

    def __init__(self) -> None:
        self._layouts: set[tuple[bytes, bytes]] = set()  # what stands before and after the pixels
        self._places: set[tuple[int, int]] = set()  # length of the file and offset of the pixels, bytes

    def decode(self, data: bytes) -> Decoded:
        """Decode one file, given as its bytes; never raises for what the bytes hold."""
        for length, offset in self._places:
            if len(data) == length and (data[:offset], data[offset + TILE_BYTES :]) in self._layouts:
                return Decoded(_pixels(data, offset))
        if not data:
            return Decoded(None, 0, 0, "", "empty_file", "0 bytes")
        decoded, offset = _pillow(data)
        if offset is not None and len(self._layouts) < _LAYOUTS:
            self._learn(data, offset, decoded)
        return decoded

    def _learn(self, data: bytes, offset: int, decoded: Decoded) -> None:
        """Remember the layout of `data` if its pixels are the bytes from `offset` on, whatever these bytes are."""
        head, strip, tail = data[:offset], data[offset : offset + TILE_BYTES], data[offset + TILE_BYTES :]
        if len(strip) != TILE_BYTES or decoded.pixels is None or decoded.pixels.tobytes() != strip:
            return
        # A header inside the strip would be lost with it: other pixels in its place must come out as themselves.
        inverse = strip.translate(_INVERSE)
        again, _ = _pillow(head + inverse + tail)
        if again.pixels is not None and again.pixels.tobytes() == inverse:
            self._layouts.add((head, tail))
            self._places.add((len(data), offset))


def _pixels(data: bytes, offset: int) -> np.ndarray:
    return np.frombuffer(data, np.uint8, TILE_BYTES, offset).reshape(SIDE, SIDE, 3)


def _pillow(data: bytes) -> tuple[Decoded, int | None]:
    """Decode with Pillow; also return the offset of the pixels if the file holds them as one plain run of bytes."""
    width = height = 0
    mode = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters of Pillow's remarks shows in the checks below
            with Image.open(io.BytesIO(data), formats=("TIFF", "PNG")) as image:
                (width, height), mode = image.size, image.mode
                # Sizes are compared before anything is decoded: a header may claim gigabytes.
                if (width, height) != (SIDE, SIDE):
                    return Decoded(None, width, height, mode, "wrong_size", f"{width} × {height} pixels"), None
                raw = _raw_modes(image)
                if mode != "RGB" or not raw <= {"RGB", "R", "G", "B"}:
                    found = mode if mode != "RGB" else "RGB from " + ", ".join(sorted(raw))
                    return Decoded(None, width, height, mode, "wrong_mode", f"channels {found}"), None
                if getattr(image, "n_frames", 1) != 1:
                    detail = f"{image.n_frames} pages, expected one"
                    return Decoded(None, width, height, mode, "unreadable", detail), None
                offset = None
                if len(image.tile) == 1:
                    codec, extents, start, arguments = image.tile[0]
                    if codec == "raw" and tuple(extents) == (0, 0, SIDE, SIDE) and arguments[1] == 0:
                        offset = start
                pixels = np.asarray(image)
    except Exception as error:
        # Pillow raises many kinds of errors on damaged files; each of them means the same here.
        detail = f"{type(error).__name__}: {error}".replace("\n", " ")[:200]
        if not data.startswith((b"II*\0", b"MM\0*", b"\x89PNG")):
            detail = f"neither TIFF nor PNG: begins with {data[:8].hex(' ')}"
        return Decoded(None, width, height, mode, "unreadable", detail), None
    if pixels.shape != (SIDE, SIDE, 3) or pixels.dtype != np.uint8:
        # Reached when a tag turns the image after its size was read.
        detail = f"{pixels.dtype} array of shape {pixels.shape}"
        return Decoded(None, width, height, mode, "wrong_mode", detail), None
    return Decoded(np.ascontiguousarray(pixels)), offset


def _raw_modes(image: Image.Image) -> set[str]:
    """How the file stores its samples ("RGB", "RGB;16B", "RGBX", …): Pillow opens some deeper ones as plain RGB."""
    modes = set()
    for _, _, _, arguments in image.tile:
        modes.add(arguments[0] if isinstance(arguments, (tuple, list)) else arguments)
    return modes
