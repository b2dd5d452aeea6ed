"""Tiles as they are after compression as JPEG."""

import io

import numpy as np
import numpy.typing as npt
from PIL import Image


def recompressed(images: npt.NDArray[np.uint8], quality: int, subsampling: str = "4:2:0") -> npt.NDArray[np.uint8]:
    """Return tiles, uint8 [N, 96, 96, 3], after compression as JPEG; subsampling: of colour, as Pillow names it."""
    result = np.empty_like(images)
    for number, tile in enumerate(images):
        file = io.BytesIO()
        Image.fromarray(tile).save(file, "JPEG", quality=quality, subsampling=subsampling)
        result[number] = np.asarray(Image.open(file))
    return result
