"""Main memory: what is available within the limits of nested control groups, and the reuse of what is freed."""

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # numbers of mallopt(3)


def reuse_freed_memory() -> None:
    """Have the C library keep freed memory for this process; without effect where it is not glibc.

    By default it returns every large block to the system. Each layer of a network on a CPU then waits for the system to
    clear the pages of its output (bench/cpu.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)


def available_memory(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes of main memory that are available, page cache included.

    The least of what the machine has available and of what each control group of this process, from its own up to the
    root, leaves below its limit; without /proc (macOS), all memory of the machine. proc, cgroups: mount points.
    """
    try:
        lines = (proc / "meminfo").read_text().splitlines()
    except FileNotFoundError:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    fields = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    left = [left_by_v2(folder) if v2 else left_by_v1(folder) for v2, folder in memory_groups(proc, cgroups)]
    return max(0, min([fields["MemAvailable"], *(value for value in left if value is not None)]))


def memory_groups(proc: Path, cgroups: Path) -> Iterator[tuple[bool, Path]]:
    """Folders of this process's control groups for memory, innermost first, each with whether it is of version 2.

    A container may see the path of its group on the host, but the group itself as the root: folders that do not exist
    are left to the reader of their files.
    """
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        v2 = number == "0" and not controllers
        if not v2 and "memory" not in controllers.split(","):
            continue
        root = cgroups if v2 else cgroups / "memory"
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        for length in range(len(parts), -1, -1):
            yield v2, root.joinpath(*parts[:length])


def left_by_v2(group: Path) -> int | None:
    """Bytes that a control group of version 2 leaves below its limit, None without a limit."""
    try:
        limit = (group / "memory.max").read_text().strip()
        return None if limit == "max" else int(limit) - int((group / "memory.current").read_text()) + cache(group)
    except (OSError, ValueError):
        return None


def left_by_v1(group: Path) -> int | None:
    """Bytes that a control group of version 1 leaves below its limit; very many without a limit."""
    try:
        limit, used = (int((group / f"memory.{name}_in_bytes").read_text()) for name in ("limit", "usage"))
        return limit - used + cache(group, "total_")
    except (OSError, ValueError):
        return None


def cache(group: Path, prefix: str = "") -> int:
    """Bytes of the page cache of a group and the groups below it, which the kernel frees before the limit is reached.

    Without tmpfs, which counts as `file` in memory.stat but cannot be freed.
    """
    statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    return sum(int(statistics.get(f"{prefix}{name}", 0)) for name in ("active_file", "inactive_file"))
