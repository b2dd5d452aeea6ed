"""The geometry of a tile: the constants agree with each other and with the competition."""

from histo import geometry


def test_the_tile_is_that_of_the_competition():
    assert (geometry.SIDE, geometry.CENTRE) == (96, 32)
    assert geometry.SHAPE == (96, 96, 3)
    assert geometry.TILE_BYTES == 27648


def test_blocks_cover_the_tile_and_its_centre():
    assert (geometry.BLOCK, geometry.BLOCKS_PER_SIDE, geometry.BLOCKS_PER_TILE) == (16, 6, 36)
    assert geometry.BLOCKS_PER_SIDE * geometry.BLOCK == geometry.SIDE
    # The label of a synthetic tile is computed from complete blocks of its centre.
    assert geometry.CENTRE % geometry.BLOCK == (geometry.SIDE - geometry.CENTRE) // 2 % geometry.BLOCK == 0
