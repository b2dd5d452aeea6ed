"""Concurrent jobs claim different devices."""

import os

from histo.training import devices


def test_two_jobs_claim_two_devices(tmp_path):
    slots = [tmp_path / "gpu-a", tmp_path / "gpu-b"]
    first, first_file = devices.claim(slots)
    second, second_file = devices.claim(slots)
    assert (first, second) == (0, 1)
    third, third_file = devices.claim(slots)
    assert third in (0, 1)
    os.close(third_file)
    os.close(first_file)
    again, again_file = devices.claim(slots)
    assert again == 0
    os.close(again_file)
    os.close(second_file)
