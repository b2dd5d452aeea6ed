"""The complete workflow: the demo, real tiles, reruns after changes, and unusable input."""

import json
import os
import re
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest

from histo import tables
from support.archives import Archive
from support.chain import job_counts, snakemake


@pytest.mark.slow
def test_the_demo_finds_the_planted_faults_and_learns(demo):
    folder, done = demo
    planted = json.loads((folder / "resources/demo/faults.json").read_text())
    results = folder / "results/demo"
    tiles = tables.read(results / "tiles.parquet", tables.TILES)
    faulty = tiles[tiles["fault"] != ""]
    expected = {name for names in planted.values() for name in names}
    assert set(faulty["id"]) == expected
    assert len(expected) == sum(len(names) for names in planted.values()) == 9
    codes = faulty.set_index("id")["fault"]
    for kind, code in (
        ("corrupt_tiff", "unreadable"),
        ("wrong_size", "wrong_size"),
        ("greyscale", "wrong_mode"),
        ("rgba", "wrong_mode"),
        ("missing_file", "missing_file"),
        ("duplicate_content", "sha1_differs"),
        ("altered_pixels", "sha1_differs"),
    ):
        assert set(codes[planted[kind]]) == {code}
    assert set(codes[planted["bad_label"]]) <= {"bad_label", "no_label"}

    run = json.loads((results / "run.json").read_text())
    assert run["command"].startswith("snakemake --cores 2 submission --snakefile ")
    assert run["jobs"]["train"] == 3 and run["rules"]["predict"] == ["audit", "folds", "pack", "train"]
    made = json.loads((results / "report.json").read_text())["made"]
    assert made["times_missing"]["report"] == 1 and run["command"] == made["command"]
    ended = {row["stage"]: row["jobs"] for row in made["times"]}
    assert ended["train"] == 3 and len(run["planned"]) == sum([*ended.values(), *made["times_missing"].values()])

    submission = json.loads((results / "submission.json").read_text())
    ensemble = json.loads((results / "ensemble.json").read_text())
    assert ensemble["auc"] > 0.8
    assert submission["truth"]["auc"] > 0.8
    assert len(pd.read_csv(results / "submission.csv")) == 300
    for value in (ensemble["auc"], submission["truth"]["auc"]):
        assert f"{value:.4f}" in (results / "report.html").read_text()
        assert f"{value:.4f}" in done.stderr
    for fold in range(3):
        assert f"[small fold-{fold} ({fold + 1}/3)] epoch 5/5 step" in done.stderr
        assert re.search(rf"train/small/fold-{fold} done in .*, \d+ of \d+ jobs\n", done.stderr)
    assert re.search(r"trainings 1 of 3 done, about \d+ (s|min) left\n", done.stderr)
    assert "trainings 3 of 3 done\n" in done.stderr
    assert "input: " not in done.stderr
    assert "results/demo/submission.csv (300 rows)" in done.stderr


@pytest.mark.slow
def test_real_tiles_from_archive_to_submission(real_run):
    """Some of the tiles overlap; a fault would end the run."""
    folder, train, test = real_run
    results = folder / "results/real"
    submission = pd.read_csv(results / "submission.csv")
    assert submission["id"].tolist() == [row.split(",")[0] for row in test]
    assert submission["label"].nunique() > 100
    tiles = tables.read(results / "tiles.parquet", tables.TILES)
    assert tiles["kept"].all()
    assert len(tiles) == 520
    folds = tables.read(results / "folds.parquet", tables.FOLDS)
    oof = tables.read(results / "ensemble/oof.parquet", tables.PROBABILITIES)
    assert oof["id"].tolist() == folds["id"].tolist() == sorted(row.split(",")[0] for row in train)
    assert dict(zip(folds["id"], folds["label"], strict=True)) == {
        name: int(label) for name, label in (row.split(",") for row in train)
    }
    assert json.loads((results / "ensemble.json").read_text())["auc"] > 0.6


@pytest.mark.slow
class TestReruns:
    """After a change, exactly the jobs that depend on it run again."""

    def test_nothing_without_a_change(self, finished):
        _, run = finished
        done = run("-n")
        assert "Nothing to be done" in done.stdout + done.stderr

    def test_nothing_after_touching_every_file_of_the_workflow(self, finished):
        folder, run = finished
        for path in (folder / "workflow").rglob("*.*"):  # templates of pages too
            path.touch()
        done = run("-n")
        assert "Nothing to be done" in done.stdout + done.stderr

    def test_one_setting_of_one_model(self, finished):
        _, run = finished
        done = run("-n", "--config", "models={other: {weight_decay: 0.01}}")
        after = {"ensemble": 1, "evaluate": 1, "report": 1, "submission": 1, "submission_csv": 1}
        assert job_counts(done) == after | {"train": 2, "predict": 2, "saliency": 1, "feature_map": 1}

    def test_test_time_augmentation_does_not_retrain(self, finished):
        _, run = finished
        done = run("-n", "--config", "predict={tta: flips}")
        after = {"ensemble": 1, "evaluate": 2, "report": 1, "submission": 1, "submission_csv": 1}
        assert job_counts(done) == after | {"predict": 4, "saliency": 2}

    def test_folds_do_not_repack_the_tiles(self, finished):
        _, run = finished
        done = run("-n", "--config", "folds={seed: 9}")
        found = job_counts(done)
        assert found["train"] == 4
        assert not found.keys() & {"index", "unzip", "validate", "pack", "audit", "overlaps", "groups"}

    def test_a_module_of_two_scripts(self, finished):
        """Nothing runs again after a comment, the rules of both scripts after an edit; the dry run names the module."""
        folder, run = finished
        path = folder / "workflow/scripts/histo/predictions.py"
        before = path.read_text()
        path.write_text(before + "\n# edited\n")
        done = run("-n")
        assert "Nothing to be done" in done.stdout + done.stderr
        path.write_text(before + "\nedited = True\n")
        done = run("-n")
        output = done.stdout + done.stderr
        after = {"report": 1, "submission": 1, "submission_csv": 1}
        assert job_counts(done) == after | {"evaluate": 2, "ensemble": 1, "saliency": 2}
        assert "histo/predictions.py" in output
        path.write_text(before)
        done = run("-n")
        assert "Nothing to be done" in done.stdout + done.stderr

    def test_flags_and_captions_of_the_report_of_snakemake(self, finished):
        folder, run = finished
        rules = {path: path.read_text() for path in (folder / "workflow/rules").glob("*.smk")}
        for path, text in rules.items():
            path.write_text(
                text.replace('category="Results"', 'category="Other"').replace("labels={", "htmlindex=None, labels={")
            )
        assert sum(path.read_text() != text for path, text in rules.items()) == 4
        done = run("-n")
        for path, text in rules.items():
            path.write_text(text)
        assert "Nothing to be done" in done.stdout + done.stderr

    def test_curves_are_no_outputs(self, finished):
        """They may be deleted and are not a reason to run anything."""
        folder, run = finished
        curves = sorted(folder.glob("results/small/train/*/fold-*/events.out.tfevents.*"))
        assert len(curves) == 4
        for path in curves:
            path.unlink()
        done = run("-n")
        assert "Nothing to be done" in done.stdout + done.stderr

    def test_the_report_of_snakemake(self, finished):
        """Pages, submission, metrics and histories with captions and categories, in one archive."""
        folder, run = finished
        done = run("--report", "report.zip")
        assert done.returncode == 0, done.stderr
        with zipfile.ZipFile(folder / "report.zip") as archive:
            contents = {name: archive.read(name) for name in archive.namelist()}
        page = contents["report/report.html"].decode()
        assert "The data set is" in page
        results, categories = (
            json.JSONDecoder().raw_decode(page, page.index("{", page.index(f"var {name} = {{")))[0]
            for name in ("results", "categories")
        )
        pages = {"report.html", "audit.html", "submission.csv", "ensemble.json"}
        histories = {f"train/{model}/fold-{fold}/history.csv" for model in ("tiny", "other") for fold in (0, 1)}
        assert set(results) == {f"results/small/{name}" for name in pages | histories}
        assert {path: set(files["Other"]) for path, files in categories.items()} == {
            "Results": {f"results/small/{name}" for name in pages - {"audit.html"}},
            "Data": {"results/small/audit.html"},
            "Training": {f"results/small/{name}" for name in histories},
        }
        for path, found in results.items():
            assert contents[f"report/{found['data_uri']}"] == (folder / path).read_bytes()
        history = results["results/small/train/other/fold-1/history.csv"]
        assert history["labels"] == {"model": "other", "network": "fold-1"}
        assert "each epoch of" in history["caption"] and "other" in history["caption"]
        assert "by the ensemble of\ntiny, other" in results["results/small/submission.csv"]["caption"]

    @pytest.mark.parametrize(
        "settings",
        [
            ("predict={average: logits}", "models={other: {ema: 0, augment: {mixup: 0.0}}}"),
            ("dataset={archive: ./archive.zip}",),
            ("dataset={archive: elsewhere/copy.zip}", "folds={slides: elsewhere/slides.csv}"),
        ],
        ids=["defaults", "another way to say a path", "copies elsewhere"],
    )
    def test_nothing_for_settings_that_say_the_same(self, finished, settings):
        folder, run = finished
        (folder / "elsewhere").mkdir(exist_ok=True)
        shutil.copy(folder / "archive.zip", folder / "elsewhere" / "copy.zip")
        shutil.copy(folder / "slides.csv", folder / "elsewhere" / "slides.csv")
        done = run("-n", "--config", *settings)
        assert "Nothing to be done" in done.stdout + done.stderr

    def test_another_table_of_slides_that_is_older(self, finished):
        folder, run = finished
        table = (folder / "slides.csv").read_text()
        (folder / "older.csv").write_text(table.replace(",s1\n", ",s2\n"))
        os.utime(folder / "older.csv", (0, 0))
        found = job_counts(run("-n", "--config", "folds={slides: older.csv}"))
        assert (found["groups"], found["folds"], found["train"]) == (1, 1, 4)
        assert not found.keys() & {"index", "unzip", "validate", "pack", "audit", "overlaps"}

    def test_another_archive_that_is_older(self, finished):
        """Snakemake by itself asks only whether an input is newer than the results."""
        folder, run = finished
        Archive(np.random.default_rng(6), train=40, test=10).write(folder / "other.zip")
        os.utime(folder / "other.zip", (0, 0))
        found = job_counts(run("-n", "--config", "dataset={archive: other.zip}"))
        assert {name: found[name] for name in ("index", "unzip", "pack", "train")} == {
            "index": 1,
            "unzip": 3,
            "pack": 3,
            "train": 4,
        }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["dataset={source: archive, archive: none.zip}"],
            "dataset.archive: expected the path of a zip, found no such",
        ),
        (["folds={cuont: 3}"], "folds.cuont: no such setting; did you mean 'count'?"),
        (["trian={}"], "trian: no such setting; did you mean 'train'?"),
    ],
)
def test_wrong_settings_stop_before_any_job(tmp_path, settings, message):
    done = snakemake(tmp_path, "submission", *settings)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_error_of_a_broken_archive_is_the_last_output(tmp_path):
    path = tmp_path / "cut.zip"
    path.write_bytes(b"PK\3\4" + bytes(5000))
    dataset = f"dataset={{name: cut, source: archive, archive: {path}}}"
    done = snakemake(tmp_path, "submission", dataset, "models={spare: {}}")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Not trained, because submission.models does not name them: spare\n" in done.stderr
    last = done.stderr.partition("\nFailed: ")[2]
    message = f"{path}: expected a complete zip archive, found 5004 bytes"
    assert last.startswith(message)
    assert done.stderr.count(message) == 1
    assert (tmp_path / "logs/cut/index.log").read_text().count(message) == 1
    assert not (tmp_path / "results/cut/index.parquet").exists()


def test_results_that_are_a_file(tmp_path):
    (tmp_path / "results").write_text("")
    done = snakemake(tmp_path, "submission", "dataset={name: small, source: kaggle}")
    assert done.returncode == 1
    assert f"{tmp_path}/results: expected a folder, found a file. Rename it and run again." in done.stderr
    assert "Traceback" not in done.stderr
