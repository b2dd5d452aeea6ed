"""Disk space that is needed, compared with what is free before anything is written."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from histo.errors import InputError
from histo.formatting import size_text


def require_space(needs: Iterable[tuple[Path, int, str]]) -> None:
    """Raise InputError unless the disks of some folders have space for what will be written to them.

    needs: folder, which need not exist, bytes, and what they are for. Folders on one disk share its space.
    """
    needs = [need for need in needs if need[1] > 0]
    total: dict[int, int] = {}
    places: dict[int, Path] = {}
    for folder, needed, _ in needs:
        while not folder.exists():
            folder = folder.parent
        device = folder.stat().st_dev
        total[device] = total.get(device, 0) + needed
        places.setdefault(device, folder)
    for device, folder in places.items():
        free = shutil.disk_usage(folder).free
        if free < total[device]:
            raise InputError(
                f"Not enough disk space in {folder.resolve()}: {size_text(total[device])} are needed "
                f"({'; '.join(f'{what} {size_text(size)}' for _, size, what in needs)}), {size_text(free)} are "
                "free. Free some space, or move the folder to a larger disk."
            )
