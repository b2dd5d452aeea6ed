"""Written TIFF files: the layout of the originals, readable by Pillow."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from histo.synthetic.tiff import tiff, tiff_header


def test_tags_are_those_of_the_originals():
    image = Image.open(io.BytesIO(tiff(np.zeros((96, 96, 3), np.uint8), "2018:11:15 17:21:40")))
    tags = image.tag_v2
    assert len(tags) == 15
    assert tags[270] == '{"shape": [96, 96, 3]}'
    assert tags[305] == "tifffile.py"
    assert tags[306] == "2018:11:15 17:21:40"
    assert tags[273] == (287,)
    assert tags[279] == (27648,)


def test_files_equal_the_originals(real_archive):
    with zipfile.ZipFile(real_archive) as file:
        for name in [name for name in file.namelist() if name.endswith(".tif")][::100]:
            data = file.read(name)
            date_time = Image.open(io.BytesIO(data)).tag_v2[306]
            assert tiff_header(96, 96, 3, date_time) == data[:287]
            assert tiff(np.frombuffer(data[287:], np.uint8).reshape(96, 96, 3), date_time) == data


@pytest.mark.parametrize(("shape", "mode"), [((96, 80), "L"), ((80, 96, 3), "RGB"), ((96, 96, 4), "RGBA")])
def test_pillow_reads_the_pixels(shape, mode):
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    image = Image.open(io.BytesIO(tiff(pixels)))
    assert image.mode == mode
    np.testing.assert_array_equal(np.array(image), pixels)
