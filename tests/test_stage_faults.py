"""Faults of the machine in the stages from archive to audit page: one message, nothing left behind, then the same bits.

docs/faults.md lists all faults with the tests that cover them.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from audit import audit
from audit_page import AuditPageInputs, audit_page
from features import measure
from folds import folds
from groups import groups
from histo.job import unwritable
from histo.tiles import decoding
from index import index
from leaks import leaks
from overlaps import overlaps
from pack import pack
from stain import stain
from stain_vectors import stain_vectors
from support import ROOT
from support.archives import Archive
from support.machine import calls, digests, interrupt, kill_in_call, largest_file, out_of_memory
from unzip import unzip
from validate import validate

SPLITS = ("train", "test")
PAGE = "audit.html"  # has the date on it


def stages(archive: Path, root: Path) -> dict[str, Callable[[], None]]:
    """All stages from archive to audit page with one shard per split, by name, in their order."""
    table, sample = root / "index.parquet", root / "sample.csv"
    tiles, pairs, grouped, folded = (root / f"{name}.parquet" for name in ("tiles", "overlaps", "groups", "folds"))
    validations = [root / f"{split}.parquet" for split in SPLITS]
    shards = [root / f"{split}.h5" for split in SPLITS]
    found: dict[str, Callable[[], None]] = {
        "index": partial(index, archive, table, sample, train_shards=1, test_shards=1)
    }
    for split, validation, shard in zip(SPLITS, validations, shards, strict=True):
        file, own = root / f"{split}.tiles", {"split": split, "shard": 0}
        found[f"unzip {split}"] = partial(unzip, archive, table, file, **own)
        found[f"validate {split}"] = partial(validate, file, table, validation, **own, id_is_sha1=True)
        found[f"pack {split}"] = partial(pack, file, table, validation, shard, **own, code="test")
        found[f"features {split}"] = partial(measure, shard, root / f"{split}-features.parquet")
    summary, pictures = root / "overlaps.json", ROOT / "workflow/report"
    page = AuditPageInputs(
        pictures / "audit.html.j2", pictures / "page.html.j2", audit=root / "audit.json", tiles=tiles, overlaps=pairs,
        leaks=root / "leaks.json", train_shards=shards[:1], test_shards=shards[1:],
    )  # fmt: skip
    return found | {
        "stain": partial(stain, shards[0], root / "stain.h5", code="test"),
        "stain_vectors": partial(stain_vectors, shards[0], root / "vectors.parquet"),
        "audit": partial(audit, table, validations, tiles, root / "audit.json", on_fault="fail", leave_out=()),
        "overlaps": partial(overlaps, validations, shards[:1], shards[1:], pairs, summary, pixels="auto"),
        "groups": partial(groups, tiles, validations[:1], pairs, None, grouped),
        "folds": partial(folds, tiles, grouped, pairs, [], folded, root / "folds.json", by="groups", count=2, seed=1),
        "leaks": partial(leaks, tiles, validations, pairs, summary, grouped, folded, root / "leaks.json"),
        "audit_page": partial(
            audit_page, page, root / PAGE, root / "audit.csv", dataset={"name": "small", "source": "archive"}, code={}
        ),
    }


def run_all(archive: Path, root: Path) -> None:
    """Run all stages; also the entry point of the processes below."""
    for stage in stages(archive, root).values():
        stage()


def without_page(root: Path) -> dict[str, str]:
    """Digests of all results but the page, which is there."""
    found = digests(root)
    del found[PAGE]
    return found


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> tuple[Path, dict[str, str]]:
    """An archive, and the digests of the results of a run without a fault."""
    folder = tmp_path_factory.mktemp("clean")
    path = Archive(np.random.default_rng(7)).write(folder / "archive.zip")
    (folder / "results").mkdir()
    run_all(path, folder / "results")
    return path, without_page(folder / "results")


def test_a_full_disk_in_each_stage(clean, tmp_path):
    """At the first byte and in the middle of a file."""
    archive, expected = clean
    for name, stage in stages(archive, tmp_path).items():
        before = digests(tmp_path)
        for size in (0, 100):
            with largest_file(size), pytest.raises(Exception) as caught:
                stage()
            message = unwritable(caught.value)
            assert message and "no space left on the disk" in message, f"{name}: {caught.value!r}"
            assert digests(tmp_path) == before, name
        stage()
    assert without_page(tmp_path) == expected


def test_no_memory_and_signals_in_each_stage(clean, tmp_path, monkeypatch):
    """Near the start and in the middle of its work; a tile that cannot be decoded for this is not called damaged."""
    archive, expected = clean
    (tmp_path / "counted").mkdir()
    counts = {name: calls(stage) for name, stage in stages(archive, tmp_path / "counted").items()}
    monkeypatch.setattr(decoding, "_SPARE", 1 << 60)
    (tmp_path / "results").mkdir()
    for name, stage in stages(archive, tmp_path / "results").items():
        before = digests(tmp_path / "results")
        for stop in (2, counts[name] // 2):
            for fault, error in ((out_of_memory, MemoryError), (interrupt, KeyboardInterrupt)):
                with pytest.raises(error):
                    calls(stage, stop, fault)
                # Snakemake deletes complete outputs of a failed job, not temporary files.
                assert digests(tmp_path / "results").items() >= before.items(), name
                assert not list((tmp_path / "results").glob(".*")), name
        kill_in_call(stage, counts[name] // 2)
        stage()  # also deletes what the killed process left
    assert without_page(tmp_path / "results") == expected


PROGRAM = """
import os, resource, sys
from pathlib import Path
os.umask(int(sys.argv[3], 8))
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[4]),) * 2)
from test_stage_faults import run_all
run_all(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.mark.parametrize(
    ("folder", "umask", "handles", "changes"),
    [
        pytest.param('it\'s a "folder" of Größe $x; 组织', "022", 1024, {}, id="path"),
        pytest.param("results", "077", 1024, {}, id="umask 077"),
        pytest.param("results", "022", 64, {}, id="64 file handles"),
        pytest.param("Größe", "022", 1024, {"LC_ALL": "C"}, id="C locale"),
        pytest.param("results", "022", 1024, {"LC_ALL": "C", "PYTHONUTF8": "0"}, id="ASCII locale"),
        pytest.param("results", "022", 1024, {"HOME": None}, id="no HOME"),
    ],
)
def test_an_unusual_machine_gives_the_same_bits(clean, tmp_path, folder, umask, handles, changes):
    archive, expected = clean
    (tmp_path / folder).mkdir()
    variables = os.environ | {"PYTHONPATH": f"{ROOT / 'workflow/scripts'}:{ROOT / 'tests'}"} | changes
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, archive, tmp_path / folder, umask, str(handles)],
        env={name: value for name, value in variables.items() if value is not None}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert without_page(tmp_path / folder) == expected
