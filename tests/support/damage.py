"""Random damage to the bytes of a file."""

import numpy as np


def damage(data: bytes, random: np.random.Generator) -> bytes:
    """Truncate, change, overwrite, insert or erase bytes at a random position; half of the time near the header."""
    damaged = bytearray(data)
    position = int(random.integers(len(data)) if random.random() < 0.5 else random.integers(min(400, len(data))))
    match random.integers(5):
        case 0:
            del damaged[position:]
        case 1:
            for _ in range(random.integers(1, 9)):
                damaged[(position + int(random.integers(64))) % len(data)] ^= int(random.integers(1, 256))
        case 2:
            length = int(random.integers(1, 200))
            damaged[position : position + length] = random.bytes(length)
        case 3:
            damaged[position:position] = random.bytes(int(random.integers(1, 50)))
        case 4:
            length = int(random.integers(1, 2000))
            damaged[position : position + length] = bytes(length)
    return bytes(damaged)
