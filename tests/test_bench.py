"""Every benchmark that needs no further packages and no GPU runs, at its smallest, and prints its headlines."""

import os
import re
import subprocess
import sys

import pytest

from conftest import ROOT

WAYS = ("stain_jitter", "channel_jitter", "macenko", "macenko_and_stain_jitter", "macenko_and_channel_jitter")
HEADLINES = {
    "scale": {"scale_pack_", "scale_load_", "scale_stream_", "pack_vs_copy"},
    "train": {"train_share_of_ceiling_"},
    "validate": {"validate_vs_three_passes", "validate_vs_floor"},
    "rehearsal": {"overlap_recall", "overlap_precision"},
    "published": {"published_error_of_default_vs_best_other"},
    "stain": {f"stain_error_left_{way}" for way in WAYS},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", HEADLINES)
def test_smoke_run(name, real_archive, tmp_path):
    command = [sys.executable, ROOT / "bench" / f"{name}.py", "--smoke"]
    variables = os.environ | {"PCAM_REAL_ARCHIVE": str(real_archive), "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {key: float(value) for key, value in re.findall(r"^RATIO (\S+) (\S+)$", done.stdout, flags=re.MULTILINE)}
    assert all(any(key.startswith(start) for key in found) for start in HEADLINES[name])
    assert all(any(key.startswith(start) for start in HEADLINES[name]) for key in found)
    assert all(0 < value < 1e6 for value in found.values())
    if name == "rehearsal":  # the one whose figures hold at any size
        assert found == {"overlap_recall": 1, "overlap_precision": 1}
