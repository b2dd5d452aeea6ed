"""Faults of the machine in the stages from training to the report: one message, nothing left, then the same bits.

SIGTERM and SIGKILL in a training are in training/test_loop.py.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from classical import classical
from ensemble import ensemble
from evaluate import evaluate
from feature_map import feature_map
from features import measure
from histo import tables
from histo.errors import out_of_memory
from histo.files import write_json
from histo.job import unwritable
from histo.training.loop import train
from predict import predict
from saliency import saliency
from search_best import search_best
from search_page import search_page
from submission_csv import submission_csv
from support.machine import calls, digests, interrupt, kill_in_call, largest_file
from support.results import finished_run
from support.search import SPACE, TEMPLATE, TRIALS
from support.training import CODE, make_split, settings, write_folds, write_tiles

FOLDS = (0, 1)
PAGE = "trials.html"  # has the date on it


def write_inputs(folder: Path) -> None:
    """Write what the stages read: shards, tables, audit and sample."""
    _, trained = make_split(folder, "train", (24, 24))
    _, tested = make_split(folder, "test", (8,))
    write_folds(trained, folder / "folds.parquet", folds=len(FOLDS))
    write_tiles(pd.concat([trained, tested]), folder / "tiles.parquet")
    tables.write(pd.DataFrame(columns=tables.OVERLAPS.names), folder / "overlaps.parquet", tables.OVERLAPS)
    write_json(folder / "audit.json", {"positive_share": 0.5})
    for shard in sorted(folder.glob("*.h5")):
        measure(shard, folder / f"features-{shard.stem}.parquet")
    for trial in TRIALS:
        write_json(folder / f"trial-{trial['trial']}.json", trial)
    (folder / "sample.csv").write_text("id,label\n" + "".join(f"{name},0\n" for name in tested["id"]))


def stages(inputs: Path, out: Path) -> dict[str, Callable[[], object]]:
    """All stages from training to the submission for one model of two folds and for a search, by name, in order."""
    folds, tiles = inputs / "folds.parquet", inputs / "tiles.parquet"
    shards, test_shards = ([str(path) for path in sorted(inputs.glob(f"{name}-*.h5"))] for name in ("train", "test"))
    found: dict[str, Callable[[], object]] = {}
    for k in FOLDS:
        network, oof, test = (out / f"{name}-{k}" for name in ("weights.pt", "oof.parquet", "test.parquet"))
        beside = (out / f"history-{k}.csv", out / f"training-{k}.json")
        found[f"train {k}"] = partial(
            train, shards, folds, network, *beside, fold=k, settings=settings(epochs=1), code=CODE,
            resume_path=out / f"resume-{k}.pt",
        )  # fmt: skip
        found[f"predict {k}"] = partial(
            predict, network, shards, test_shards, folds, tiles, oof, test, tta="none", average="logits"
        )
    oofs, tests = ([out / f"{name}.parquet-{k}" for k in FOLDS] for name in ("oof", "test"))
    weights = [out / f"weights.pt-{k}" for k in FOLDS]
    found["saliency"] = partial(saliency, weights, shards, folds, oofs, out / "saliency.parquet")
    found["feature_map"] = partial(
        feature_map, weights, shards, test_shards, folds, tiles, out / "map.parquet", method="pca"
    )
    features = [sorted(inputs.glob(f"features-{split}-*.parquet")) for split in ("train", "test")]
    found["classical"] = partial(
        classical, *features, folds, tiles, out / "classical-oof.parquet", out / "classical-test.parquet", fold=0,
        settings={"method": "logistic_regression", "l2": 1.0}, threads=1,
    )  # fmt: skip
    trials, base = [inputs / f"trial-{trial['trial']}.json" for trial in TRIALS], settings().model_dump()
    found["search_best"] = partial(search_best, trials, out / "best.yaml", search="fine", settings=base)
    found["search_page"] = partial(
        search_page, trials, *(out / name for name in ("best.yaml", "trials.csv", PAGE, "trials.json")),
        template=TEMPLATE, layout=TEMPLATE.with_name("page.html.j2"), search="fine", code={},
        dataset={"name": "small", "source": "synthetic"},
        settings={"base": base, "space": SPACE, "sampler": "random", "seed": 4, "folds": [0, 1]},
    )  # fmt: skip
    blend = [out / name for name in ("oof.parquet", "test.parquet", "ensemble.json")]
    found["evaluate"] = partial(evaluate, oofs, folds, out / "evaluate.json", model="tiny", tta="none")
    found["ensemble"] = partial(
        ensemble, {"tiny": oofs}, {"tiny": tests}, folds, tiles, *blend, method="mean", recipes=[]
    )
    given = (inputs / "overlaps.parquet", inputs / "audit.json", None)
    results = (out / "submission.csv", out / "submission.json")
    found["submission_csv"] = partial(submission_csv, inputs / "sample.csv", blend[1], *given, *results)
    return found


def fail(stage: Callable[[], object], folder: Path, count: int) -> None:
    """Run a stage on a full disk, without memory, and with Ctrl-C; it leaves no temporary file. count: of its calls."""
    before = digests(folder)
    for size in (0, 100):
        with largest_file(size), pytest.raises(Exception) as caught:
            stage()
        message = unwritable(caught.value)
        assert message and "no space left on the disk" in message, repr(caught.value)
        assert digests(folder) == before
    for stop in (2, count // 2):
        with pytest.raises(Exception) as caught:
            calls(stage, stop)
        assert out_of_memory(caught.value), repr(caught.value)
        with pytest.raises(KeyboardInterrupt):
            calls(stage, stop, interrupt)
        assert not list(folder.glob(".*"))  # Snakemake deletes the outputs of a failed job, not temporary files


def results(folder: Path) -> dict[str, str]:
    """Digests of all results but those that hold times."""
    timed = ("history", "training", PAGE)
    return {name: digest for name, digest in digests(folder).items() if not name.startswith(timed)}


def test_faults_from_training_to_submission(tmp_path, monkeypatch):
    monkeypatch.setenv("HISTO_DEVICE", "cpu")
    inputs, clean, faulty = (tmp_path / name for name in ("inputs", "clean", "faulty"))
    for folder in (inputs, clean, faulty):
        folder.mkdir()
    write_inputs(inputs)
    counts = {name: calls(stage) for name, stage in stages(inputs, clean).items()}
    for name, stage in stages(inputs, faulty).items():
        fail(stage, faulty, counts[name])
        if not name.startswith(("train", "saliency")):  # torch has no gradients in a process that was forked after some
            kill_in_call(stage, counts[name] // 2)
        stage()  # also deletes what the killed process left
    assert results(faulty) == results(clean)
    assert {"weights.pt-0", "test.parquet", "submission.csv", "best.yaml"} <= results(clean).keys()


def test_faults_in_the_report(tmp_path):
    run = finished_run(tmp_path)
    count = calls(run.write_report)
    names = ("report.html", "config.yaml", "errors.csv", "report.json", "numbers.csv", "provenance.json")
    errors = (tmp_path / "errors.csv").read_bytes()
    for name in names:
        (tmp_path / name).unlink()
    before = digests(tmp_path)
    for size in (0, 100):
        with largest_file(size), pytest.raises(Exception) as caught:
            run.write_report()
        assert "no space left on the disk" in (unwritable(caught.value) or ""), repr(caught.value)
        assert digests(tmp_path) == before
    with pytest.raises(MemoryError):
        calls(run.write_report, count // 2)
    with pytest.raises(KeyboardInterrupt):
        calls(run.write_report, count // 2, interrupt)
    kill_in_call(run.write_report, count // 2)
    run.write_report()
    assert not list(tmp_path.glob(".*"))
    assert (tmp_path / "errors.csv").read_bytes() == errors
