"""Decoding tiles: exactly what Pillow gives, or a verdict."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from histo.synthetic.tiff import tiff
from histo.tiles.decoding import Decoder


@pytest.fixture
def pixels(random):
    return random.integers(0, 256, (96, 96, 3), dtype=np.uint8)


def saved(image, format="TIFF", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def verdict(data):
    return Decoder().decode(data)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_every_lossless_compression_decodes_to_the_same_pixels(pixels, compression):
    decoded = verdict(saved(Image.fromarray(pixels), compression=compression))
    assert decoded.fault == ""
    np.testing.assert_array_equal(decoded.pixels, pixels)


def test_png_under_the_name_of_a_tiff_is_read(pixels):
    np.testing.assert_array_equal(verdict(saved(Image.fromarray(pixels), "PNG")).pixels, pixels)


def test_learned_layout_gives_what_pillow_gives(random):
    decoder = Decoder()
    for tile in random.integers(0, 256, (5, 96, 96, 3), dtype=np.uint8):
        np.testing.assert_array_equal(decoder.decode(tiff(tile)).pixels, tile)
    assert len(decoder._layouts) == 1


def test_learned_layout_leaves_other_headers_to_pillow(pixels):
    decoder = Decoder()
    good = tiff(pixels)
    assert decoder.decode(good).fault == ""
    width = bytearray(good)
    position = good.index(b"\x00\x01\x04\x00\x01\x00\x00\x00\x60\x00\x00\x00") + 8  # tag 256: width
    width[position] = 95
    decoded = decoder.decode(bytes(width))
    assert (decoded.pixels, decoded.fault, decoded.width) == (None, "wrong_size", 95)


def test_header_inside_the_pixels_is_not_learned(pixels):
    """A strip that begins at byte 0 holds the header itself: other pixels in its place would be another file."""
    data = bytearray(tiff(pixels))
    offset = bytes(data).index((287).to_bytes(4, "little"), 8)
    data[offset : offset + 4] = bytes(4)
    decoder = Decoder()
    first = decoder.decode(bytes(data))
    assert first.pixels is not None
    assert decoder._layouts == set()


def test_every_byte_of_the_header_matters_or_does_not(pixels, random):
    """Whatever one changed byte makes Pillow see, the decoder with a learned layout sees the same."""
    good = tiff(pixels)
    learned = Decoder()
    learned.decode(good)
    for position in range(287):
        damaged = bytearray(good)
        damaged[position] ^= int(random.integers(1, 256))
        fresh, known = verdict(bytes(damaged)), learned.decode(bytes(damaged))
        assert fresh.fault == known.fault
        assert (fresh.pixels is None) == (known.pixels is None)
        if fresh.pixels is not None:
            np.testing.assert_array_equal(fresh.pixels, known.pixels)


@pytest.mark.parametrize(
    ("mode", "found"), [("L", "L"), ("RGBA", "RGBA"), ("CMYK", "CMYK"), ("I;16", "I;16"), ("1", "1"), ("P", "P")]
)
def test_other_modes(pixels, mode, found):
    image = Image.new(mode, (96, 96)) if mode in ("I;16", "P") else Image.fromarray(pixels).convert(mode)
    decoded = verdict(saved(image))
    assert (decoded.fault, decoded.mode, decoded.pixels) == ("wrong_mode", found, None)


def test_sixteen_bits_per_channel_are_no_tile(pixels):
    """Pillow opens them as plain RGB and drops the lower half."""
    data = tiff(pixels)
    bits = data.index(b"\x08\x00\x08\x00\x08\x00")
    deep = bytearray(data + bytes(27648))
    deep[bits : bits + 6] = b"\x10\x00" * 3
    counts = data.index((27648).to_bytes(4, "little"))
    deep[counts : counts + 4] = (2 * 27648).to_bytes(4, "little")
    decoded = verdict(bytes(deep))
    assert decoded.pixels is None
    assert decoded.fault in ("wrong_mode", "unreadable")


def test_jpeg_compression_is_no_tile(pixels):
    assert verdict(saved(Image.fromarray(pixels), "JPEG")).fault == "unreadable"


@pytest.mark.parametrize(("width", "height"), [(95, 96), (96, 97), (1, 1), (50000, 50000)])
def test_other_sizes_are_named_and_never_decoded(pixels, width, height):
    data = bytearray(tiff(pixels))
    for tag, value in ((b"\x00\x01\x04\x00", width), (b"\x01\x01\x04\x00", height)):
        place = bytes(data).index(tag) + 8
        data[place : place + 4] = value.to_bytes(4, "little")
    decoded = verdict(bytes(data))
    assert decoded.pixels is None
    # Pillow itself refuses the largest one as a decompression bomb.
    assert decoded.fault == ("unreadable" if width == 50000 else "wrong_size")
    assert "DecompressionBomb" in decoded.detail or decoded.detail == f"{width} × {height} pixels"


def test_several_pages(pixels):
    image = Image.fromarray(pixels)
    decoded = verdict(saved(image, save_all=True, append_images=[image, image]))
    assert (decoded.fault, decoded.detail) == ("unreadable", "3 pages, expected one")


def test_empty_file():
    assert verdict(b"").fault == "empty_file"


def test_what_is_no_image_says_how_it_begins():
    decoded = verdict(b"<html>not found</html>")
    assert (decoded.fault, decoded.detail) == (
        "unreadable",
        "neither TIFF nor PNG: begins with 3c 68 74 6d 6c 3e 6e 6f",
    )


@pytest.mark.parametrize("length", [1, 4, 8, 100, 286, 287, 5000, 27934])
def test_cut_short(pixels, length):
    decoded = verdict(tiff(pixels)[:length])
    assert decoded.fault == "unreadable"
    assert decoded.pixels is None


def test_deflated_tile_with_damaged_stream(pixels):
    data = bytearray(saved(Image.fromarray(pixels), compression="tiff_adobe_deflate"))
    data[2000:2010] = bytes(10)
    decoded = verdict(bytes(data))
    assert decoded.pixels is None or not np.array_equal(decoded.pixels, pixels)


def test_planar_samples(pixels):
    """Red, green and blue one after the other: valid TIFF."""
    ifd = TiffImagePlugin.ImageFileDirectory_v2()
    data = b"".join(pixels[..., channel].tobytes() for channel in range(3))
    for tag, value in ((256, 96), (257, 96), (258, (8, 8, 8)), (259, 1), (262, 2), (277, 3), (278, 96), (284, 2)):
        ifd[tag] = value
    ifd[279] = (9216, 9216, 9216)
    ifd[273] = (0, 9216, 2 * 9216)  # Pillow adds where the directory ends
    file = b"II*\0\x08\0\0\0" + ifd.tobytes(8) + data
    np.testing.assert_array_equal(verdict(file).pixels, pixels)


def test_real_tiles_decode_as_pillow_decodes_them(real_archive):
    decoder = Decoder()
    with zipfile.ZipFile(real_archive) as file:
        for name in [name for name in file.namelist() if name.endswith(".tif")][:200]:
            data = file.read(name)
            np.testing.assert_array_equal(decoder.decode(data).pixels, np.asarray(Image.open(io.BytesIO(data))))
