"""Errors whose message is meant for the user, and how libraries say that no memory is left."""

import re

_MEMORY = re.compile(r"(can't|cannot|unable to) allocate|malloc of size|bad_alloc|errno\s*=?\s*12\b", re.I)


class InputError(Exception):
    """Something from outside is unusable: a file, a setting, a server's answer.

    The message names the file (and the tile or row), what was expected, what was found and what to do. It is shown
    without a traceback.
    """


class DivergedError(InputError):
    """A loss or a weight of a training run is not finite: its settings are unsuitable."""


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that no memory is left: HDF5, torch and the kernel raise other types than MemoryError."""
    return isinstance(error, MemoryError) or bool(_MEMORY.search(str(error)))
