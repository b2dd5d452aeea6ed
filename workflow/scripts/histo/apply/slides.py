"""Whole-slide files, read by OpenSlide at the resolution of the training tiles, where they show tissue.

Lines of tiles are read one after the other, so that memory grows with the width of a slide alone.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from openslide import PROPERTY_NAME_MPP_X, PROPERTY_NAME_MPP_Y, OpenSlide, OpenSlideError
from PIL import Image

from histo.apply.fields import FieldOfView, grid
from histo.apply.images import Pixels
from histo.errors import InputError

ENDINGS = (".svs", ".tif", ".tiff", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".svslide", ".dcm")
SAME = 0.05  # a level whose resolution differs by less, relative, is read as it is
OVERVIEW = 64_000_000  # pixels; the largest last level in which tissue is looked for
SATURATION = (12, 40)  # of HSV, 0 to 255; tissue is above Otsu's threshold, which is kept in this range
DARK = 50  # grey levels; pixels whose brightest channel is darker are no tissue: the colour of black is noise
SHARE = 0.1  # of a tile that must show tissue

log = logging.getLogger(__name__)


class Slide:
    """A whole-slide file at `microns` per pixel. Attributes: width, height, pixels.

    Raises InputError if it cannot be read, does not say its resolution, or has a lower one.
    """

    def __init__(self, path: Path, microns: float) -> None:
        try:
            self._file = OpenSlide(path)
            own = [float(self._file.properties[name]) for name in (PROPERTY_NAME_MPP_X, PROPERTY_NAME_MPP_Y)]
        except KeyError:
            raise InputError(f"{path}: expected a slide that says its microns per pixel, found none. Convert it with "
                             "its resolution.") from None  # fmt: skip
        except (OpenSlideError, ValueError) as error:
            raise InputError(f"{path}: expected a whole-slide file, found another ({error}). Remove it.") from None
        wanted = 2 * microns / sum(own)  # pixels of level 0 per pixel
        level = self._file.get_best_level_for_downsample(wanted * (1 + SAME))
        within = self._file.level_downsamples[level]
        if wanted < within * (1 - SAME):
            raise InputError(f"{path}: expected at most {microns} microns per pixel, found {sum(own) / 2:.4g}. Scan "
                             "the slide at a higher resolution.")  # fmt: skip
        # Pixels of the level per pixel.
        self._scale = 1.0 if abs(wanted / within - 1) < SAME else wanted / within
        self._level, self._within = level, within
        width, height = self._file.level_dimensions[level]
        self.width, self.height = int(width / self._scale), int(height / self._scale)
        log.info("%s: level %d, reduced by %.4g to %d × %d pixels.", path, level, self._scale, self.width, self.height)
        self._path = path

    def lines(self, top: int, count: int) -> Pixels:
        """Return `count` lines from line `top` on, uint8 [count, width, 3]; glass where the file has no pixels."""
        width, height = self._file.level_dimensions[self._level]
        margin = int(np.ceil(3 * self._scale)) if self._scale != 1 else 0  # what the filter reads around a line
        first = max(0, int(top * self._scale) - margin)
        last = min(height, int(np.ceil((top + count) * self._scale)) + margin)
        image = self._read(first, (width, last - first), self._level)
        if self._scale != 1:
            box = (0, top * self._scale - first, self.width * self._scale, (top + count) * self._scale - first)
            image = image.resize((self.width, count), Image.Resampling.BICUBIC, box=box)
        return np.asarray(image)

    def tissue(self, side: int, stride: int) -> npt.NDArray[np.bool_]:
        """Return which tiles show tissue, bool [rows, columns].

        Tissue has a saturation above Otsu's threshold (IEEE Transactions on Systems, Man, and Cybernetics 9(1), 1979)
        in the smallest level. Raises InputError if that is larger than `OVERVIEW`.
        """
        level = self._file.level_count - 1
        width, height = self._file.level_dimensions[level]
        if width * height > OVERVIEW:
            raise InputError(
                f"{self._path}: expected a level of at most {OVERVIEW:,} pixels, found {width} × {height} in the "
                "smallest. Convert the slide to a pyramidal file."
            )
        image = self._read(0, (width, height), level)
        saturation, value = (np.asarray(band) for band in image.convert("HSV").split()[1:])
        bright = value > DARK
        threshold = np.clip(otsu(saturation[bright]) if bright.any() else 0, *SATURATION)
        sums = np.zeros((height + 1, width + 1), np.int64)
        sums[1:, 1:] = ((saturation > threshold) & bright).cumsum(0).cumsum(1)
        rows, lines = _spans(grid(self.height, side, stride), side, height / self.height, height)
        columns, across = _spans(grid(self.width, side, stride), side, width / self.width, width)
        found = sums[lines[:, None], across] - sums[rows[:, None], across]
        found += sums[rows[:, None], columns] - sums[lines[:, None], columns]
        return np.asarray(found >= SHARE * (lines - rows)[:, None] * (across - columns))

    def _read(self, top: int, size: tuple[int, int], level: int) -> Image.Image:
        """Return lines of a level from `top` on, RGB, with white where the file has no pixels."""
        downsample = self._file.level_downsamples[level]
        image = self._file.read_region((0, round(top * downsample)), level, size)
        white = Image.new("RGB", size, (255, 255, 255))
        white.paste(image, mask=image.getchannel("A"))
        return white

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def otsu(values: npt.NDArray[np.uint8]) -> int:
    """Return the threshold that separates values with the largest variance between both classes; values: not empty."""
    counts = np.bincount(values, minlength=256).astype(np.float64)
    below, total = counts.cumsum(), (counts * np.arange(256)).cumsum()
    above = below[-1] - below
    with np.errstate(invalid="ignore", divide="ignore"):
        between = (total[-1] * below / below[-1] - total) ** 2 / (below * above)
    return int(np.nan_to_num(between, posinf=0).argmax())


def _spans(starts: range, side: int, scale: float, length: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return first and last + 1 pixel of tiles in an image of `length` pixels; scale: its pixels per pixel."""
    first = np.floor(np.asarray(starts) * scale).astype(np.int64)
    last = np.ceil((np.asarray(starts) + side) * scale).astype(np.int64)
    return first, np.clip(last, first + 1, length)


def open_slides(path: str | Path, side: int, stride: int, microns: float) -> Iterator[FieldOfView]:
    """Yield whole-slide files at `microns` per pixel, each with its tissue.

    path: a file, or a folder with its subfolders; side, stride: of the tiles, pixels. Raises InputError, before the
    first is yielded, if there are none, two of one id, or any that is not usable.
    """
    place = Path(path)
    files = [place] if place.is_file() else sorted(file for file in place.rglob("*") if file.suffix.lower() in ENDINGS)
    if not files:
        raise InputError(f"{path}: expected whole-slide files ({', '.join(ENDINGS)}), found none. Correct the path.")
    folder = place.parent if place.is_file() else place
    names: dict[str, Path] = {}
    for file in files:
        name = file.relative_to(folder).with_suffix("").as_posix()
        if name in names:
            raise InputError(f"{path}: expected one slide of each id, found {file.name!r} too. Rename or remove it.")
        names[name] = file
        slide = Slide(file, microns)
        if min(slide.width, slide.height) < side:
            raise InputError(f"{file}: expected at least {side} × {side} pixels at {microns} microns per pixel, found "
                             f"{slide.width} × {slide.height}. Remove it.")  # fmt: skip
        slide.close()
    for name, file in names.items():
        slide = Slide(file, microns)
        tissue = slide.tissue(side, stride)
        log.info("%s: %d of %d tiles show tissue.", file, tissue.sum(), tissue.size)
        yield FieldOfView(name, slide.width, slide.height, slide.lines, tissue)
        slide.close()
