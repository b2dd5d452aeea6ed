"""Decoding of tile files: square tiles of three 8-bit channels, decoded exactly or rejected with a fault.

Pillow defines what a file contains. It takes about 190 µs per tile, most of it to parse a header that thousands of
files have in common (in the competition's archive, headers differ only in their date). The decoder therefore learns
file layouts: once Pillow has shown that, under a given header, the pixels are one contiguous run of raw bytes, further
files that agree in all bytes outside that run are decoded by slicing. The result is exactly what Pillow would return.
Files of equal length that lie one after another in memory are decoded by slicing all of them at once.
"""

import io
import re
import warnings
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from histo.geometry import SIDE

_MAX_LAYOUTS = 1024  # a sample of 4,122 original tiles has 39; a hostile archive may have any number
_ADDRESS = re.compile(r" <_io\.BytesIO object at 0x[0-9a-f]+>")  # Pillow's name of a file in memory
_SPARE = 16 << 20  # bytes, more than decoding a valid tile needs


@dataclass(frozen=True)
class Decoded:
    """The result of decoding one file.

    pixels: uint8 [side, side, 3], RGB, read-only, or None when `fault` is set; width, height in pixels and mode as
    named by Pillow (0 and "" when not even the header is readable); fault: a key of `histo.faults.FAULTS` or "";
    offset: of the pixels in the file, bytes, if they lie there as in `pixels`, otherwise -1.
    """

    pixels: npt.NDArray[np.uint8] | None
    width: int = SIDE
    height: int = SIDE
    mode: str = "RGB"
    fault: str = ""
    detail: str = ""
    offset: int = -1


@dataclass(frozen=True)
class DecodedBlock:
    """The result of decoding n files.

    pixels: uint8 [m, side, side, 3], read-only, of the m ≤ n files that are valid, in order; it may be a view of the
    files.
    invalid: results of the other files by number in the block. offsets: int32 [n], as `Decoded.offset`.
    """

    pixels: npt.NDArray[np.uint8]
    invalid: dict[int, Decoded]
    offsets: npt.NDArray[np.int32]


class Decoder:
    """Decode tiles of `side` × `side` pixels; remember the file layouts seen so far."""

    def __init__(self, side: int = SIDE) -> None:
        self._side, self._shape, self._bytes = side, (side, side, 3), side**2 * 3
        # Added to pixels, modulo 256, to get others that differ in each byte. No flip or rotation maps these values to
        # themselves, so the pixels or the others are not symmetric either, and show whether the orientation tag (274)
        # is set.
        self._change = np.random.Generator(np.random.PCG64(20181115)).integers(1, 256, self._bytes, np.uint8)
        self._layouts: set[tuple[bytes, bytes]] = set()  # the bytes before and after the pixels
        self._strips: set[tuple[int, int]] = set()  # length of the file and offset of the pixels, bytes

    def decode(self, data: bytes) -> Decoded:
        """Decode one file, given its bytes. Never raises, whatever the bytes are."""
        for length, offset in self._strips:
            if len(data) == length and (data[:offset], data[offset + self._bytes :]) in self._layouts:
                pixels = np.frombuffer(data, np.uint8, self._bytes, offset).reshape(self._shape)
                return Decoded(pixels, self._side, self._side, offset=offset)
        if not data:
            return Decoded(None, 0, 0, "", "empty_file", "0 bytes")
        decoded, strip = _decode_with_pillow(data, self._side)
        if strip is None or decoded.pixels is None or decoded.pixels.tobytes() != data[strip : strip + self._bytes]:
            return decoded
        if len(self._layouts) < _MAX_LAYOUTS:
            self._learn(data, strip)
        return replace(decoded, offset=strip)

    def decode_block(self, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> DecodedBlock:
        """Decode n files that lie one after another, each exactly as `decode` does. Never raises.

        data: bytes, uint8, contiguous; offsets: int64 [n + 1], of the files in `data`, in ascending order.
        """
        count = len(offsets) - 1
        found = self._slice(data, offsets)
        if found is not None:
            return DecodedBlock(found[0], {}, np.full(count, found[1], np.int32))
        pixels = np.empty((count, *self._shape), np.uint8)
        starts = np.empty(count, np.int32)
        invalid = {}
        for number, (start, stop) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
            decoded = self.decode(data[start:stop].tobytes())
            starts[number] = decoded.offset
            if decoded.pixels is None:
                invalid[number] = decoded
            else:
                pixels[number - len(invalid)] = decoded.pixels
        pixels = pixels[: count - len(invalid)]
        pixels.flags.writeable = False
        return DecodedBlock(pixels, invalid, starts)

    def _slice(
        self, data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.uint8], int] | None:
        """Return a view of the pixels of n ≥ 1 files, and their offset, if all have one length and learned layouts."""
        lengths = offsets[1:] - offsets[:-1]
        if not len(lengths) or (lengths != lengths[0]).any():
            return None
        files = data[offsets[0] : offsets[-1]].reshape(len(lengths), -1)
        for length, offset in self._strips:
            if length == files.shape[1]:
                end = offset + self._bytes
                heads, tails = files[:, :offset], files[:, end:]
                found = zip(_rows(heads), _rows(tails), strict=True)
                if all(layout in self._layouts for layout in found):
                    return files[:, offset:end].reshape(-1, *self._shape), offset
        return None

    def _learn(self, data: bytes, offset: int) -> None:
        """Remember the layout of `data`, whose pixels are raw bytes from `offset` on, if any others would be too."""
        head, strip, tail = data[:offset], data[offset : offset + self._bytes], data[offset + self._bytes :]
        # Part of the header may lie inside the strip, and a tag may flip or rotate the tile: verify that other pixel
        # values decode correctly too.
        other = (np.frombuffer(strip, np.uint8) + self._change).tobytes()
        again, _ = _decode_with_pillow(head + other + tail, self._side)
        if again.pixels is not None and again.pixels.tobytes() == other:
            self._layouts.add((head, tail))
            self._strips.add((len(data), offset))


def _rows(values: npt.NDArray[np.uint8]) -> list[bytes]:
    """Return the rows of a matrix of bytes."""
    count, width = values.shape
    joined = values.tobytes()
    return [joined[start : start + width] for start in range(0, count * width, width)] if width else [b""] * count


def _decode_with_pillow(data: bytes, side: int) -> tuple[Decoded, int | None]:
    """Decode with Pillow; also return the offset of the pixels if the file stores them as one run of raw bytes."""
    width = height = 0
    mode = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the checks below find everything that matters here
            with Image.open(io.BytesIO(data), formats=("TIFF", "PNG", "JPEG")) as image:
                (width, height), mode = image.size, image.mode
                # Check the size before decoding: a header may claim gigabytes.
                if (width, height) != (side, side):
                    return Decoded(None, width, height, mode, "wrong_size", f"{width} × {height} pixels"), None
                fault, detail = channel_fault(image)
                if fault:
                    return Decoded(None, width, height, mode, fault, detail), None
                strip = _raw_strip(image, side)
                pixels = np.asarray(image)
    except Exception as error:
        if isinstance(error, MemoryError):
            bytes(_SPARE)  # MemoryError again if memory is used up; else the file claims too much: it is damaged
        # Pillow raises many types of exceptions on damaged files; all of them mean the same here.
        detail = _ADDRESS.sub("", f"{type(error).__name__}: {error}").replace("\n", " ")[:200]
        if not data.startswith((b"II*\0", b"MM\0*", b"\x89PNG", b"\xff\xd8\xff")):
            detail = f"neither TIFF, PNG nor JPEG: begins with {data[:8].hex(' ')}"
        return Decoded(None, width, height, mode, "unreadable", detail), None
    if pixels.shape != (side, side, 3) or pixels.dtype != np.uint8:
        # Happens when a tag rotates the image after its size was read.
        detail = f"{pixels.dtype} array of shape {pixels.shape}"
        return Decoded(None, width, height, mode, "wrong_mode", detail), None
    return Decoded(np.ascontiguousarray(pixels), side, side), strip


def channel_fault(image: ImageFile.ImageFile) -> tuple[str, str]:
    """Return a key of `histo.faults.FAULTS` and its detail if an image has not one page of three channels of 8 bits.

    image: opened, not decoded yet. Returns empty strings for one that has.
    """
    raw = _raw_modes(image)
    if image.mode != "RGB" or not raw <= {"RGB", "R", "G", "B"}:
        found = image.mode if image.mode != "RGB" else "RGB from " + ", ".join(sorted(raw))
        return "wrong_mode", f"channels {found}"
    return ("unreadable", "more than one page") if _has_more_pages(image) else ("", "")


def _has_more_pages(image: ImageFile.ImageFile) -> bool:
    """Whether there is a second page. Pillow's count of all pages takes time by the square of their number."""
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def _raw_strip(image: ImageFile.ImageFile, side: int) -> int | None:
    """Return the offset of the pixels in the file if they are one run of raw bytes, else None."""
    if len(image.tile) != 1:
        return None
    codec, extents, offset, arguments = image.tile[0]
    if codec != "raw" or extents is None or tuple(extents) != (0, 0, side, side) or not isinstance(arguments, tuple):
        return None
    return offset if arguments[1] == 0 else None


def _raw_modes(image: ImageFile.ImageFile) -> set[str]:
    """Return how the file stores its samples ("RGB", "RGB;16B", "RGBX", …): Pillow opens some 16-bit files as RGB."""
    modes = set()
    for _, _, _, arguments in image.tile:
        modes.add(str(arguments[0] if isinstance(arguments, (tuple, list)) else arguments))
    return modes
