"""Decoding of tiles: exactly what Pillow returns, or a fault."""

import io
import re
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin, UnidentifiedImageError

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


def test_jpeg_is_decoded_as_by_pillow(pixels):
    """JPEG is lossy: the pixels are those that Pillow decodes; an EXIF orientation does not rotate them."""
    exif = Image.Exif()
    exif[274] = 6
    for options in ({"quality": 75}, {"quality": 95, "progressive": True}, {"exif": exif}):
        data = saved(Image.fromarray(pixels), "JPEG", **options)
        decoded = decode(data)
        assert (decoded.fault, decoded.mode, decoded.offset) == ("", "RGB", -1)
        np.testing.assert_array_equal(decoded.pixels, np.asarray(Image.open(io.BytesIO(data))))
        assert np.abs(decoded.pixels.astype(int) - pixels).mean() < 60


@pytest.mark.parametrize(
    ("image", "cut", "fault"),
    [
        (lambda image: image, 2000, "unreadable"),
        (lambda image: image, 20, "unreadable"),
        (lambda image: image.resize((96, 95)), None, "wrong_size"),
        (lambda image: image.convert("L"), None, "wrong_mode"),
        (lambda image: image.convert("CMYK"), None, "wrong_mode"),
    ],
    ids=["cut short", "header cut short", "size", "grey", "CMYK"],
)
def test_faulty_jpeg(pixels, image, cut, fault):
    data = saved(image(Image.fromarray(pixels)), "JPEG")
    decoded = decode(data[:cut])
    assert (decoded.pixels, decoded.fault) == (None, fault)
    assert "neither" not in decoded.detail


def test_a_learned_layout_decodes_as_pillow_does(random):
    decoder = Decoder()
    for tile in random.integers(0, 256, (5, 96, 96, 3), dtype=np.uint8):
        np.testing.assert_array_equal(decoder.decode(tiff(tile)).pixels, tile)
    assert len(decoder._layouts) == 1


@pytest.mark.parametrize("side", [64, 224])
def test_tiles_of_another_side(random, side):
    tiles = random.integers(0, 256, (4, side, side, 3), dtype=np.uint8)
    decoder, files = Decoder(side), [tiff(tile) for tile in tiles]
    found = decoder.decode(files[0])
    assert (found.fault, found.width, found.height) == ("", side, side)
    data = np.frombuffer(b"".join(files), np.uint8)
    block = decoder.decode_block(data, np.cumsum([0, *map(len, files)]))
    np.testing.assert_array_equal(block.pixels, tiles)
    assert len(decoder._layouts) == 1
    refused = Decoder().decode(files[0])
    assert (refused.fault, refused.detail) == ("wrong_size", f"{side} × {side} pixels")


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


def oriented(pixels: np.ndarray, orientation: int) -> bytes:
    """Return a TIFF file with uncompressed pixels and tag 274, orientation."""
    return saved(Image.fromarray(pixels), tiffinfo={274: orientation})


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_symmetric_tile_does_not_hide_the_orientation_of_its_layout(pixels, orientation):
    """The first tile looks the same however it is flipped or rotated; the second one does not."""
    symmetric = np.full((96, 96, 3), 200, np.uint8)
    decoder = Decoder()
    np.testing.assert_array_equal(decoder.decode(oriented(symmetric, orientation)).pixels, symmetric)
    data = oriented(pixels, orientation)
    expected = decode(data).pixels
    assert np.array_equal(expected, pixels) == (orientation == 1)
    np.testing.assert_array_equal(decoder.decode(data).pixels, expected)
    assert len(decoder._layouts) == (orientation == 1)


def same(found: Decoded, expected: Decoded) -> bool:
    """Compare all fields; addresses of objects in Pillow's messages differ between two calls."""

    def fields(decoded: Decoded) -> tuple:
        detail = re.sub(r"0x[0-9a-f]+", "", decoded.detail)
        return decoded.width, decoded.height, decoded.mode, decoded.fault, detail

    if fields(found) != fields(expected):
        return False
    return (found.pixels is None) == (expected.pixels is None) and (
        found.pixels is None or np.array_equal(found.pixels, expected.pixels)
    )


def decoded_in_blocks(decoder: Decoder, files: list[bytes], size: int) -> list[Decoded]:
    """Decode files that lie one after another, `size` at a time."""
    data = np.frombuffer(b"".join(files), np.uint8)
    offsets = np.cumsum([0, *map(len, files)])
    found = []
    for start in range(0, len(files), size):
        block = decoder.decode_block(data, offsets[start : start + size + 1])
        pixels = iter(block.pixels)
        count = len(files[start : start + size])
        found += [block.invalid.get(k) or Decoded(next(pixels)) for k in range(count)]
        assert next(pixels, None) is None
    return found


@pytest.mark.parametrize("size", [1, 5, 16, 400])
def test_a_block_of_files_decodes_as_each_of_them(random, size):
    """Layouts of one length, of several lengths, files without a layout and damaged files, in runs and mixed."""

    def another() -> np.ndarray:
        return random.integers(0, 256, (96, 96, 3), dtype=np.uint8)

    def damaged() -> bytes:
        data = bytearray(tiff(another()))
        data[int(random.integers(287))] ^= int(random.integers(1, 256))
        return bytes(data)

    kinds = [
        lambda: tiff(another()),
        lambda: tiff(another(), "2018:11:15 17:21:34"),
        lambda: saved(Image.fromarray(another())),
        lambda: tiff(another()) + b"tail",
        lambda: saved(Image.fromarray(another()), "PNG"),
        lambda: oriented(another(), 6),
        damaged,
        lambda: tiff(another())[: int(random.integers(27935))],
        lambda: random.bytes(27935),
        lambda: b"",
        lambda: saved(Image.fromarray(another()[:95])),
    ]
    order = [0] * 40 + [0, 1] * 20 + random.integers(0, len(kinds), 150).tolist() + [3] * 20 + [0] * 20 + [9] * 5
    files = [kinds[kind]() for kind in order]
    decoder = Decoder()
    expected = [decoder.decode(data) for data in files]
    found = decoded_in_blocks(Decoder(), files, size)
    assert all(same(*pair) for pair in zip(found, expected, strict=True))
    assert all(same(a, decode(data)) for a, data in zip(found, files, strict=True))
    assert len({result.fault for result in found}) >= 4
    again = decoded_in_blocks(decoder, files, size)  # with all layouts learned
    assert all(same(*pair) for pair in zip(again, expected, strict=True))


def test_a_block_of_known_layouts_is_not_copied(random):
    files = [tiff(tile) for tile in random.integers(0, 256, (4, 96, 96, 3), dtype=np.uint8)]
    decoder = Decoder()
    decoder.decode(files[0])
    data = np.frombuffer(b"".join(files), np.uint8)
    block = decoder.decode_block(data, np.arange(5) * 27935)
    assert np.shares_memory(block.pixels, data)
    assert decoder.decode_block(data, np.zeros(1, np.int64)).pixels.shape == (0, 96, 96, 3)


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


def test_other_formats_are_a_fault(pixels):
    decoded = decode(saved(Image.fromarray(pixels), "BMP"))
    assert decoded.fault == "unreadable"
    assert decoded.detail.startswith("neither TIFF, PNG nor JPEG: begins with 42 4d")


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
    assert (decoded.fault, decoded.detail) == ("unreadable", "more than one page")


def chain_of_pages(pixels: np.ndarray, count: int) -> bytes:
    """A TIFF with this number of pages after the first, which share its pixels."""
    file = bytearray(tiff(pixels))
    entries = int.from_bytes(file[8:10], "little")
    link = 10 + 12 * entries  # position of the offset of the next page
    page = bytes(file[8 : link + 4])
    for _ in range(count):
        file[link : link + 4] = len(file).to_bytes(4, "little")
        link = len(file) + len(page) - 4
        file += page
    return bytes(file)


def test_the_pages_of_a_long_chain_are_not_read(pixels, monkeypatch):
    read = []
    load = TiffImagePlugin.ImageFileDirectory_v2.load
    monkeypatch.setattr(TiffImagePlugin.ImageFileDirectory_v2, "load", lambda self, file: read.append(load(self, file)))
    assert decode(chain_of_pages(pixels, 0)).fault == ""
    read.clear()
    assert decode(chain_of_pages(pixels, 30_000)).detail == "more than one page"
    assert len(read) < 10


def bigtiff(pixels: np.ndarray, order: str) -> bytes:
    """A BigTIFF with uncompressed pixels; order: of its bytes, < or >."""
    size = 8 + 8 + 8 + 10 * 20 + 8  # bytes before the pixels
    side = len(pixels)
    entries = [
        (256, "I", side), (257, "I", side), (258, "HHH", 8, 8, 8), (259, "H", 1), (262, "H", 2), (273, "Q", size),
        (277, "H", 3), (278, "I", side), (279, "Q", pixels.nbytes), (284, "H", 1),
    ]  # fmt: skip
    file = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HHHQQ", 43, 8, 0, 16, len(entries))
    for tag, kinds, *values in entries:
        number = {"H": 3, "I": 4, "Q": 16}[kinds[0]]
        file += struct.pack(f"{order}HHQ", tag, number, len(values))
        file += struct.pack(order + kinds, *values).ljust(8, b"\0")
    file += bytes(8)
    assert len(file) == size
    return file + pixels.tobytes()


@pytest.mark.parametrize("order", ["<", ">"])
def test_bigtiff_is_read_where_pillow_reads_it(pixels, order):
    """Pillow 13 reads it in little-endian byte order alone."""
    file = bigtiff(pixels, order)
    try:
        with Image.open(io.BytesIO(file)) as image:
            expected = np.asarray(image)
    except UnidentifiedImageError:
        expected = None
    decoded = decode(file)
    assert expected is not None or order == ">"
    assert decoded.fault == ("unreadable" if expected is None else "")
    np.testing.assert_array_equal(decoded.pixels, expected)


def test_a_damaged_header_is_described_without_an_address_in_memory():
    detail = decode(b"\x89PNG\r\n\x1a\n and nothing else").detail
    assert detail == "UnidentifiedImageError: cannot identify image file"


def test_an_empty_file_is_a_fault():
    assert decode(b"").fault == "empty_file"


def test_the_detail_of_other_files_shows_their_first_bytes():
    decoded = decode(b"<html>not found</html>")
    assert (decoded.fault, decoded.detail) == (
        "unreadable",
        "neither TIFF, PNG nor JPEG: begins with 3c 68 74 6d 6c 3e 6e 6f",
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
