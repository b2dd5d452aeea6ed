"""The hardware in words."""

import os

from histo.hardware import hardware


def test_processor_cores_and_memory_are_named():
    text = hardware()
    assert f", {len(os.sched_getaffinity(0))} cores, " in text
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    assert f"{gigabytes:.0f} GiB memory, Linux {os.uname().release}" in text
    assert not text.startswith(",")
