"""Smoke runs of the benchmarks that need no further packages: they end and print their summary ratios."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys

import pytest

from support import ROOT

# Comparisons with other loaders need bench/requirements.txt.
LOADERS = {"gpu_load_vs_"} if importlib.util.find_spec("webdataset") else set()
COMPILED = {"gpu_fused_vs_eager_augmentation_"} if shutil.which("g++") else set()
RATIOS = {
    "evaluation": {"evaluation_"},
    "fingerprints": {"fingerprints_"},
    "hostile": {"hostile_handled"},
    "gpu": {"gpu_share_of_fixed_batch_", "gpu_share_of_bound_"} | LOADERS | COMPILED,
    "operations": {"operations_vs_before_"},
    "cpu": {"cpu_training_with_vs_without_", "cpu_prediction_with_vs_without_"},
    "scale": {"scale_pack_", "scale_load_", "scale_stream_", "pack_vs_copy"},
    "terminal": {"terminal_"},
    "train": {"train_share_of_ceiling_"},
    "validate": {"validate_vs_three_passes", "validate_vs_floor"},
    "tiles": {"tiles_vs_files"},
    "overlaps": {"lossy_recall", "lossy_precision"},
    "stain_folds": {"stain_slides_vs_ratios"},
    "rehearsal": {"overlap_recall", "overlap_precision", "memory_vs_request", "orchestration_share", "disk_vs_bound"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RATIOS)
def test_smoke_run(name, tmp_path):
    command = [sys.executable, ROOT / "bench" / f"{name}.py", "--smoke"]
    variables = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    found = {key: float(value) for key, value in re.findall(r"^RATIO (\S+) (\S+)$", done.stdout, flags=re.MULTILINE)}
    assert all(any(key.startswith(start) for key in found) for start in RATIOS[name])
    assert all(any(key.startswith(start) for start in RATIOS[name]) for key in found)
    assert all(0 < value < 1e6 for value in found.values())
    if name == "rehearsal":  # these hold at any size
        assert found["overlap_recall"] == found["overlap_precision"] == 1
        assert found["memory_vs_request"] < 1
    if name == "hostile":
        assert found == {"hostile_handled": 1}
    if name == "overlaps":
        assert found == {"lossy_recall": 1, "lossy_precision": 1}
