"""Decoding of tiles: exactly what Pillow returns, or a fault."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from histo.synthetic.tiff import tiff
from histo.tiles.decoding import Decoded, Decoder


@pytest.fixture
def pixels(random):
    return random.integers(0, 256, (96, 96, 3), dtype=np.uint8)


def saved(image: Image.Image, format: str = "TIFF", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def decode(data: bytes) -> Decoded:
    """Decode with a decoder that has not learned any layout."""
    return Decoder().decode(data)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_every_lossless_compression_decodes_to_the_same_pixels(pixels, compression):
    decoded = decode(saved(Image.fromarray(pixels), compression=compression))
    assert decoded.fault == ""
    np.testing.assert_array_equal(decoded.pixels, pixels)


def test_png_is_decoded(pixels):
    np.testing.assert_array_equal(decode(saved(Image.fromarray(pixels), "PNG")).pixels, pixels)


def test_a_learned_layout_decodes_as_pillow_does(random):
    decoder = Decoder()
    for tile in random.integers(0, 256, (5, 96, 96, 3), dtype=np.uint8):
        np.testing.assert_array_equal(decoder.decode(tiff(tile)).pixels, tile)
    assert len(decoder._layouts) == 1


def test_other_headers_are_left_to_pillow(pixels):
    decoder = Decoder()
    good = tiff(pixels)
    assert decoder.decode(good).fault == ""
    width = bytearray(good)
    position = good.index(b"\x00\x01\x04\x00\x01\x00\x00\x00\x60\x00\x00\x00") + 8  # tag 256: width
    width[position] = 95
    decoded = decoder.decode(bytes(width))
    assert (decoded.pixels, decoded.fault, decoded.width) == (None, "wrong_size", 95)


def test_a_layout_with_the_header_inside_the_pixels_is_not_learned(pixels):
    """A strip that begins at byte 0 contains the header itself: other pixels would change the header."""
    data = bytearray(tiff(pixels))
    offset = bytes(data).index((287).to_bytes(4, "little"), 8)
    data[offset : offset + 4] = bytes(4)
    decoder = Decoder()
    first = decoder.decode(bytes(data))
    assert first.pixels is not None
    assert decoder._layouts == set()


def test_any_changed_byte_of_the_header_has_the_same_effect_as_in_pillow(pixels, random):
    """A decoder with a learned layout and a new one return the same."""
    good = tiff(pixels)
    learned = Decoder()
    learned.decode(good)
    for position in range(287):
        damaged = bytearray(good)
        damaged[position] ^= int(random.integers(1, 256))
        fresh, known = decode(bytes(damaged)), learned.decode(bytes(damaged))
        assert fresh.fault == known.fault
        assert (fresh.pixels is None) == (known.pixels is None)
        if fresh.pixels is not None:
            np.testing.assert_array_equal(fresh.pixels, known.pixels)


@pytest.mark.parametrize(
    ("mode", "found"), [("L", "L"), ("RGBA", "RGBA"), ("CMYK", "CMYK"), ("I;16", "I;16"), ("1", "1"), ("P", "P")]
)
def test_other_modes_are_a_fault(pixels, mode, found):
    image = Image.new(mode, (96, 96)) if mode in ("I;16", "P") else Image.fromarray(pixels).convert(mode)
    decoded = decode(saved(image))
    assert (decoded.fault, decoded.mode, decoded.pixels) == ("wrong_mode", found, None)


def test_sixteen_bits_per_channel_are_a_fault(pixels):
    """Pillow opens such files as RGB and drops the lower 8 bits."""
    data = tiff(pixels)
    bits = data.index(b"\x08\x00\x08\x00\x08\x00")
    deep = bytearray(data + bytes(27648))
    deep[bits : bits + 6] = b"\x10\x00" * 3
    counts = data.index((27648).to_bytes(4, "little"))
    deep[counts : counts + 4] = (2 * 27648).to_bytes(4, "little")
    decoded = decode(bytes(deep))
    assert decoded.pixels is None
    assert decoded.fault in ("wrong_mode", "unreadable")


def test_jpeg_is_a_fault(pixels):
    assert decode(saved(Image.fromarray(pixels), "JPEG")).fault == "unreadable"


@pytest.mark.parametrize(("width", "height"), [(95, 96), (96, 97), (1, 1), (50000, 50000)])
def test_other_sizes_are_reported_and_never_decoded(pixels, width, height):
    data = bytearray(tiff(pixels))
    for tag, value in ((b"\x00\x01\x04\x00", width), (b"\x01\x01\x04\x00", height)):
        position = bytes(data).index(tag) + 8
        data[position : position + 4] = value.to_bytes(4, "little")
    decoded = decode(bytes(data))
    assert decoded.pixels is None
    # Pillow itself rejects the largest size as a decompression bomb.
    assert decoded.fault == ("unreadable" if width == 50000 else "wrong_size")
    assert "DecompressionBomb" in decoded.detail or decoded.detail == f"{width} × {height} pixels"


def test_several_pages_are_a_fault(pixels):
    image = Image.fromarray(pixels)
    decoded = decode(saved(image, save_all=True, append_images=[image, image]))
    assert (decoded.fault, decoded.detail) == ("unreadable", "3 pages, expected one")


def test_an_empty_file_is_a_fault():
    assert decode(b"").fault == "empty_file"


def test_the_detail_of_other_files_shows_their_first_bytes():
    decoded = decode(b"<html>not found</html>")
    assert (decoded.fault, decoded.detail) == (
        "unreadable",
        "neither TIFF nor PNG: begins with 3c 68 74 6d 6c 3e 6e 6f",
    )


@pytest.mark.parametrize("length", [1, 4, 8, 100, 286, 287, 5000, 27934])
def test_truncated_files_are_a_fault(pixels, length):
    decoded = decode(tiff(pixels)[:length])
    assert decoded.fault == "unreadable"
    assert decoded.pixels is None


def test_a_damaged_deflate_stream_never_gives_the_original_pixels(pixels):
    data = bytearray(saved(Image.fromarray(pixels), compression="tiff_adobe_deflate"))
    data[2000:2010] = bytes(10)
    decoded = decode(bytes(data))
    assert decoded.pixels is None or not np.array_equal(decoded.pixels, pixels)


def test_planar_samples(pixels):
    """Red, green and blue planes one after another are valid TIFF."""
    ifd = TiffImagePlugin.ImageFileDirectory_v2()
    data = b"".join(pixels[..., channel].tobytes() for channel in range(3))
    for tag, value in ((256, 96), (257, 96), (258, (8, 8, 8)), (259, 1), (262, 2), (277, 3), (278, 96), (284, 2)):
        ifd[tag] = value
    ifd[279] = (9216, 9216, 9216)
    ifd[273] = (0, 9216, 2 * 9216)  # Pillow adds the offset of the end of the directory
    file = b"II*\0\x08\0\0\0" + ifd.tobytes(8) + data
    np.testing.assert_array_equal(decode(file).pixels, pixels)


def test_original_tiles_decode_as_pillow_decodes_them(real_archive):
    decoder = Decoder()
    with zipfile.ZipFile(real_archive) as file:
        for name in [name for name in file.namelist() if name.endswith(".tif")][:200]:
            data = file.read(name)
            np.testing.assert_array_equal(decoder.decode(data).pixels, np.asarray(Image.open(io.BytesIO(data))))
