"""The geometry of a tile: its side, its central square, its aligned blocks, its size in memory.

`Geometry` holds what the section `dataset` says of the tiles. Shards record it, and all stages after `pack` read it
there. The constants are those of the competition and of PatchCamelyon.
"""

from dataclasses import dataclass

SIDE = 96  # pixels
CENTRE = 32  # pixels; the label is 1 when this central square contains tumour tissue
SHAPE = (SIDE, SIDE, 3)  # of a tile: uint8, RGB
TILE_BYTES = SIDE * SIDE * 3

BLOCK = 16  # pixels; tiles of one slide were cut on a grid with this step
BLOCKS_PER_SIDE = SIDE // BLOCK
BLOCKS_PER_TILE = BLOCKS_PER_SIDE**2


@dataclass(frozen=True)
class Geometry:
    """Side of the tiles and of their central square, in pixels; number of classes of the labels."""

    tile_side: int = SIDE
    centre_side: int = CENTRE
    classes: int = 2

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of a tile: uint8, RGB."""
        return self.tile_side, self.tile_side, 3

    @property
    def tile_bytes(self) -> int:
        """Size of a tile in memory."""
        return self.tile_side**2 * 3

    @property
    def outputs(self) -> int:
        """Logits of a network: of label 1 if there are two classes, else of each class."""
        return 1 if self.classes == 2 else self.classes


COMPETITION = Geometry()
