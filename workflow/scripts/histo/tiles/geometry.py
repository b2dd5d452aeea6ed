"""The geometry of a tile: its side, its central square, its size in memory."""

SIDE = 96  # pixels
CENTRE = 32  # pixels; the label is 1 when this central square holds tumour
SHAPE = (SIDE, SIDE, 3)  # of a tile: uint8, RGB
TILE_BYTES = SIDE * SIDE * 3
