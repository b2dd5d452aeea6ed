"""Finished runs that several test files use: one that they change and run again, and the demo."""

import shutil

import numpy as np
import pytest

from support import ROOT
from support.archives import Archive
from support.chain import DEMO_CONFIG, DEMO_SETTINGS, TREE, run_snakemake, snakemake


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A copy of the workflow with a finished run of two tiny models, and a function that runs it again."""
    folder = tmp_path_factory.mktemp("reruns")
    for name in TREE:
        source = ROOT / name
        shutil.copytree(source, folder / name) if source.is_dir() else shutil.copy(source, folder / name)
    archive = Archive(np.random.default_rng(5), train=40, test=10)
    archive.write(folder / "archive.zip")
    slides = "".join(f"{name},s{k % 8}\n" for k, name in enumerate(archive.train))
    (folder / "slides.csv").write_text(f"id,slide\n{slides}")
    tiny = (ROOT / "tests/config/tiny.yaml").read_text()
    (folder / "tiny.yaml").write_text(
        tiny.replace("models: [tiny]", "models: [tiny, other]")
        .replace("  tiny:\n", "  tiny: &tiny\n", 1)
        .replace("  count: 2", "  count: 2\n  slides: slides.csv")
        + "dataset: {name: small, source: archive, archive: archive.zip}\n"
    )
    text = (folder / "tiny.yaml").read_text()
    (folder / "tiny.yaml").write_text(text.replace("\npredict:", "  other:\n    <<: *tiny\n    seed: 2\n\npredict:", 1))

    def run(*options):
        return run_snakemake("submission", "--configfile", "tiny.yaml", *options, folder=folder)

    done = run()
    assert done.returncode == 0, done.stderr
    return folder, run


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """The demo of the README, with fewer tiles and epochs: its folder and the finished process."""
    folder = tmp_path_factory.mktemp("demo")
    done = snakemake(folder, "submission", *DEMO_SETTINGS, config=DEMO_CONFIG)
    assert done.returncode == 0, done.stderr
    return folder, done
