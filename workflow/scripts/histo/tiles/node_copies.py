"""Copies of shards on a disk of the node: on a cluster, several jobs read them at random without loading the network.

A shard is copied once per node, whatever the number of jobs that start there at the same time, and every byte of the
copy is proven by the SHA-256 of the shard and the SHA-1s of its tiles.
"""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from histo.errors import InputError
from histo.files import atomic_write
from histo.tiles.shards import Shard

log = logging.getLogger(__name__)


def on_this_node(paths: Iterable[str], folder: str) -> list[str]:
    """Return the paths of copies of shards in a folder of this node, or the paths as they are if `folder` is empty.

    folder: an absolute path; its environment variables are those of the node. Raises InputError for another path and
    for a shard of which the copy differs from what was packed.
    """
    if not folder:
        return list(paths)
    place = Path(os.path.expandvars(folder))
    if not place.is_absolute() or "$" in str(place):
        raise InputError(
            f"scratch: expected an absolute path whose variables are set on the node, found {folder}. Correct the line "
            "`scratch` of the profile."
        )
    place.mkdir(parents=True, exist_ok=True)
    return [str(_copy(Path(path), place)) for path in paths]


def _copy(path: Path, folder: Path) -> Path:
    # Named by content: a shard that was packed again is another file.
    copy = folder / f"{path.stem}-{Shard(path).sha256}{path.suffix}"
    with open(copy.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when the process ends, however it does
        if not copy.is_file():
            with atomic_write(copy) as temporary:
                shutil.copyfile(path, temporary)
                try:
                    Shard(temporary).verify()
                except InputError:
                    raise InputError(
                        f"{path}: expected a copy in {folder} with the SHA-256 of the shard, found other bytes. Run "
                        "the target verify: it says whether the shard itself is damaged."
                    ) from None
            log.info("%s: copied to %s, %.1f MB.", path, copy, copy.stat().st_size / 1e6)
    return copy
