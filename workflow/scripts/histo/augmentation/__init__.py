"""Augmentation of batches: random changes of each tile, drawn on the CPU and applied on the device of the tiles.

The random numbers of a tile depend only on the seed, the epoch and the tile's position in the order of the epoch, so
the result depends neither on the storage mode of the tiles, nor on the number of threads, nor on whether the run was
resumed. A change of strength 0 costs nothing. All changes keep the meaning of the label, which only the central
square decides.
"""
