"""The geometry of a tile: its side, its central square, its aligned blocks, its size in memory."""

SIDE = 96  # pixels
CENTRE = 32  # pixels; the label is 1 when this central square contains tumour tissue
SHAPE = (SIDE, SIDE, 3)  # of a tile: uint8, RGB
TILE_BYTES = SIDE * SIDE * 3

BLOCK = 16  # pixels; tiles of one slide were cut on a grid with this step
BLOCKS_PER_SIDE = SIDE // BLOCK
BLOCKS_PER_TILE = BLOCKS_PER_SIDE**2
