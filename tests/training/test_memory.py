"""Available memory within the limits of nested control groups, from folder trees as Linux shows them; freed memory."""

import os
import platform
import subprocess
import sys

import pytest

from histo.training.memory import available_memory
from support import ROOT

MACHINE = 64_000 * 1024  # bytes, MemAvailable of the machine
UNLIMITED = 9223372036854771712  # how version 1 shows no limit


@pytest.fixture
def system(tmp_path):
    """Return a function that writes /proc and /sys/fs/cgroup and returns the available memory."""
    proc, cgroups = tmp_path / "proc", tmp_path / "cgroup"

    def available(memberships, groups):
        (proc / "self").mkdir(parents=True)
        (proc / "meminfo").write_text("MemTotal:       99000 kB\nMemAvailable:   64000 kB\nHugePages_Total:       0\n")
        if memberships is not None:
            (proc / "self" / "cgroup").write_text(memberships)
        for name, files in groups.items():
            (cgroups / name).mkdir(parents=True, exist_ok=True)
            for file, text in files.items():
                (cgroups / name / file).write_text(f"{text}\n")
        return available_memory(proc, cgroups)

    return available


def v2(limit, current, stat="file 0"):
    return {"memory.max": limit, "memory.current": current, "memory.stat": stat}


def v1(limit, usage, stat="total_cache 0"):
    return {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": usage, "memory.stat": stat}


def test_without_control_groups_the_machine_counts(system):
    assert system(None, {}) == MACHINE


def test_groups_without_limits_do_not_count(system):
    assert system("0::/a/b\n", {"a": v2("max", 5000), "a/b": v2("max", 4000)}) == MACHINE


def test_the_own_group_counts(system):
    assert system("0::/a/b\n", {"a": v2("max", 5000), "a/b": v2(9000, 4000)}) == 5000


def test_the_limit_of_an_outer_group_counts(system):
    groups = {"job": v2(10_000, 7000), "job/step": v2(50_000, 6000), "job/step/task": v2("max", 6000)}
    assert system("0::/job/step/task\n", groups) == 3000


def test_the_group_that_leaves_least_counts_even_if_its_limit_is_larger(system):
    assert system("0::/job/step\n", {"job": v2(90_000, 88_000), "job/step": v2(50_000, 6000)}) == 2000


def test_other_groups_do_not_count(system):
    assert system("0::/a\n", {"a": v2(9000, 4000), "b": v2(100, 50), "a/c": v2(100, 50)}) == 5000


def test_reclaimable_cache_is_available_but_tmpfs_is_not(system):
    stat = "anon 1000\nfile 3500\nshmem 500\ninactive_file 2000\nactive_file 1000"
    assert system("0::/a\n", {"a": v2(9000, 4500, stat)}) == 9000 - 4500 + 3000


def test_the_root_of_a_container_counts(system):
    """The path is that on the host, of which the container does not see the folders."""
    assert system("0::/../../docker/1a2b\n", {"": v2(9000, 4000)}) == 5000


def test_more_used_than_allowed_leaves_nothing(system):
    assert system("0::/a\n", {"a": v2(4000, 5000)}) == 0


def test_a_limit_above_the_memory_of_the_machine_does_not_count(system):
    assert system("0::/a\n", {"a": v2(10 * MACHINE, 0)}) == MACHINE


def test_version_1(system):
    memberships = "9:name=systemd:/x\n4:cpu,memory:/job/step\n1:cpu:/y\n0::/\n"
    stat = "cache 900\nactive_file 1\ntotal_cache 900\ntotal_inactive_file 300\ntotal_active_file 200\ntotal_shmem 400"
    groups = {
        "memory": v1(UNLIMITED, 10**6),
        "memory/job": v1(10_000, 7000, stat),
        "memory/job/step": v1(UNLIMITED, 6000),
        "cpu/y": v1(10, 0),
    }
    assert system(memberships, groups) == 3500


def test_version_1_without_limits(system):
    assert system("4:memory:/job\n", {"memory": v1(UNLIMITED, 99), "memory/job": v1(UNLIMITED, 9)}) == MACHINE


def test_unreadable_files_do_not_count(system):
    groups = {"a": {"memory.max": "9000"}, "a/b": v2("?", 1), "a/b/c": {"memory.max": "9", "memory.current": "1"}}
    assert system("0::/a/b/c\n", groups) == MACHINE


def test_without_proc_all_memory_counts(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sysconf", {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 16384}.__getitem__)
    assert available_memory(tmp_path / "proc", tmp_path / "cgroup") == 16_384_000


def test_this_machine():
    with open("/proc/meminfo") as file:
        total = int(file.readline().split()[1]) * 1024
    assert 0 < available_memory() <= total


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_freed_memory_is_reused():
    """Page faults of 20 blocks of 64 MB, one after the other."""
    program = """
import resource
from histo.training.memory import reuse_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        bytes(b'x') * 2**26
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
plain = faults()
reuse_freed_memory()
bytes(b'x') * 2**26
print(plain, faults())
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow/scripts")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    plain, reused = map(int, done.stdout.split())
    assert plain > 1000
    assert reused < plain / 100
