"""Finished runs that several test files use: one that they change and run again, the demo, and one on real tiles."""

import shutil
import zipfile

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


@pytest.fixture(scope="session")
def real_run(real_archive, tmp_path_factory):
    """A run on 400 training and 120 test tiles of Kaggle's archive: its folder, and the rows of both tables."""
    folder = tmp_path_factory.mktemp("real")
    small = folder / "small.zip"
    with zipfile.ZipFile(real_archive) as source, zipfile.ZipFile(small, "w") as target:
        labels = source.read("train_labels.csv").decode().split()
        sample = source.read("sample_submission.csv").decode().split()
        train, test = labels[1:401], sample[1:121]
        target.writestr("train_labels.csv", "\n".join([labels[0], *train]))
        target.writestr("sample_submission.csv", "\n".join([sample[0], *test]))
        for split, rows in (("train", train), ("test", test)):
            for row in rows:
                name = f"{split}/{row.split(',')[0]}.tif"
                target.writestr(name, source.read(name), zipfile.ZIP_DEFLATED, 1)
    done = snakemake(
        folder, "submission", f"dataset={{name: real, source: archive, archive: {small}}}",
        "models={tiny: {center_crop: 96, epochs: 6, batch_size: 32}}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, train, test
