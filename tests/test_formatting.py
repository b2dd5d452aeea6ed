"""Numbers as text: units, and rounding at their limits."""

import pytest

from histo.formatting import compact, duration, percent, size_text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (None, "an unknown size"), (0, "0 bytes"), (999, "999 bytes"), (1000, "1.00 kB"), (27_935, "27.93 kB"),
        (999_994, "999.99 kB"), (999_995, "1.00 MB"), (6_300_000, "6.30 MB"), (999_999_999, "1.00 GB"),
        (6_310_000_000, "6.31 GB"), (2_500_000_000_000, "2500.00 GB"),
    ],
)  # fmt: skip
def test_sizes(size, text):
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (4.24, "4.2 s"), (59.94, "59.9 s"), (59.96, "1 min 00 s"), (187.4, "3 min 07 s"),
     (3599.4, "59 min 59 s"), (3599.7, "1 h 00 min"), (7530, "2 h 05 min"), (360_000, "100 h 00 min")],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (7, "7"), (999, "999"), (999.7, "1 k"), (1000, "1 k"), (311_234, "311 k"), (999_499, "999 k"),
     (999_600, "1 M"), (2_791_234, "2.79 M"), (26_000_000, "26 M")],
)  # fmt: skip
def test_large_numbers(count, text):
    assert compact(count) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0.0 %"), (1e-6, "< 0.1 %"), (0.0613, "6.1 %"), (0.5, "50.0 %"), (0.99999, "> 99.9 %"), (1, "100.0 %")],
)
def test_only_0_reads_as_nothing_and_only_1_as_all(share, text):
    assert percent(share) == text
