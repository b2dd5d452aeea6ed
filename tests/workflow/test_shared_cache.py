"""Snakemake's cache between workflows: the second of two folders takes the shards that the first has packed."""

import os

import pytest

from support import ROOT
from support.chain import CONFIG, run_snakemake

SHARDS = ("pack/train-00000.h5", "pack/test-00000.h5", "validate/train-00000.parquet")


@pytest.mark.slow
def test_shards_are_packed_once(tiny_run, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    settings = f"dataset={{name: small, source: archive, archive: {tiny_run}/archive.zip}}"
    targets = [f"results/small/{name}" for name in SHARDS]

    def run(name, *options):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        environment = os.environ | {"SNAKEMAKE_OUTPUT_CACHE": str(cache)}
        place = [
            "--snakefile",
            ROOT / "Snakefile",
            "--directory",
            folder,
            "--configfile",
            *CONFIG,
            "--config",
            settings,
        ]
        done = run_snakemake(*targets, *options, *place, environment=environment)
        assert done.returncode == 0, done.stderr
        return [(folder / target) for target in targets], done

    alone = [tiny_run / target for target in targets]
    assert not any(path.is_symlink() for path in alone)
    first, _ = run("first", "--cache")
    second, _ = run("second", "--cache")
    for kept, packed, fetched in zip(alone, first, second, strict=True):
        assert packed.resolve() == fetched.resolve() and packed.resolve().parent == cache
        assert fetched.read_bytes() == kept.read_bytes()
    logs = [list((tmp_path / name / "logs/small/pack").iterdir()) for name in ("first", "second")]
    assert all(path.stat().st_size > 0 for path in logs[0])
    assert all(path.stat().st_size == 0 for path in logs[1])  # no job wrote a log
    _, again = run("second", "--cache", "-n")
    assert "Nothing to be done" in again.stdout + again.stderr
