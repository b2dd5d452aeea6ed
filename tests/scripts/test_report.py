"""The report: one file that shows the values it was given, whatever was left out."""

import base64
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import report as module
from ensemble import ensemble
from evaluate import evaluate
from histo import tables
from histo.errors import InputError
from histo.files import read_json, write_json
from histo.pages.gallery import sprite
from histo.pages.report_results import calibration, gains_table, most_wrong
from histo.tiles.shards import open_shards, write_shard
from report import Results, read_times, settings_table
from submission_csv import submission_csv
from support.html_page import Page

TEMPLATE = Path(module.__file__).parent.parent / "report" / "report.html.j2"
LAYOUT = TEMPLATE.with_name("page.html.j2")
HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
TRAIN, TEST = 120, 20


class Run:
    """The results folder of a small run, made by the stages that make it, without pixels that mean anything."""

    def __init__(
        self, folder: Path, models=("small", "wide"), folds=2, faults=True, unpredicted=1, tta="all", method="mean"
    ):
        rng = np.random.default_rng(5)
        self.folder, self.models = (
            folder,
            {name: {"network": {"name": "residual"}, "checkpoint": "last"} for name in models},
        )
        self.ids = [f"{k:040x}" for k in range(TRAIN)]
        tests = [f"{k:040x}" for k in range(10_000, 10_000 + TEST)]
        self.labels = (np.arange(TRAIN) % 3 == 0).astype(np.int8)
        self.images = rng.integers(0, 256, (TRAIN, 96, 96, 3), np.uint8)
        for split, ids, labels, images in (
            ("train", self.ids, self.labels, self.images),
            ("test", tests, np.full(TEST, -1), self.images[:TEST]),
        ):
            path = folder / f"pack/{split}-00000.h5"
            write_shard(path, split=split, number=0, ids=ids, labels=labels, batches=[images], code="c")
        self.tiles = pd.DataFrame({"id": self.ids + tests, "split": ["train"] * TRAIN + ["test"] * TEST, "shard": 0})
        self.tiles["row"] = [*range(TRAIN), *range(TEST)]
        self.tiles["label"] = [*self.labels, *([-1] * TEST)]
        self.tiles[["fault", "detail", *tables.COLOUR]] = ["", "", *([1.0] * len(tables.COLOUR))]
        if faults:
            self.tiles.loc[0, ["fault", "detail"]] = "bad_label", "the label is '<i>2</i>'"
            self.tiles.loc[1, ["fault", "detail", "row"]] = "unreadable", "cut short", -1
        self.tiles["kept"] = self.tiles["fault"] == ""
        tables.write(self.tiles, folder / "tiles.parquet", tables.TILES)
        deal = self.tiles[self.tiles["kept"] & (self.tiles["split"] == "train")].copy()
        deal["fold"], deal["group"] = np.arange(len(deal)) % folds, [f"g{k // 10}" for k in range(len(deal))]
        tables.write(deal, folder / "folds.parquet", tables.FOLDS)
        deal["reason"] = np.where(np.arange(len(deal)) < 70, "slide", "alone")
        tables.write(deal, folder / "groups.parquet", tables.GROUPS)
        pairs = [(self.ids[2], self.ids[3], True), (self.ids[4], tests[0], True), (self.ids[5], self.ids[6], False)]
        frame = pd.DataFrame(pairs, columns=["id_a", "id_b", "confirmed"]).assign(dy=16, dx=0, area=7680)
        tables.write(frame, folder / "overlaps.parquet", tables.OVERLAPS)
        shares = [{"fold": k, "tiles": 1000 + k, "positives": 500, "positive_share": 0.5, "groups": 7}
                  for k in range(folds)]  # fmt: skip
        write_json(folder / "folds.json", {"folds": shares})
        found = {"bad_label": {"train": 1, "test": 0}, "unreadable": {"train": 1, "test": 0}}
        self.audit = {
            "tiles": {"train": TRAIN, "test": TEST}, "kept": {"train": len(deal), "test": TEST},
            "faults": found if faults else {}, "positives": int((deal["label"] == 1).sum()),
            "positive_share": float((deal["label"] == 1).mean()), "copies": 1, "in_both_splits": 0, "left_out": {},
        }  # fmt: skip
        write_json(folder / "audit.json", self.audit)

        oof, test, histories = {}, {}, {}
        for name in models:
            oof[name], test[name], histories[name] = [], [], []
            for fold in range(folds):
                part = folder / "train" / str(len(oof)) / str(fold)
                part.mkdir(parents=True)
                for made, ids, labels in ((oof, deal.loc[deal["fold"] == fold, "id"], None), (test, tests, 0)):
                    ids = np.array(ids)[: TEST - unpredicted if made is test else None]
                    truth = deal.set_index("id")["label"].loc[ids] if labels is None else np.zeros(len(ids))
                    logit = rng.normal(2 * np.asarray(truth) - 1, 1.5)
                    rows = {"id": ids, "fold": fold, "logit": logit, "probability": 1 / (1 + np.exp(-logit))}
                    rows["logit_none"] = logit + rng.normal(0, 0.5, len(ids)) * (tta != "none")
                    rows["logit_flips"] = logit + 0.1 if tta == "all" else logit if tta == "flips" else np.nan
                    made[name].append(part / ("oof.parquet" if made is oof else "test.parquet"))
                    tables.write(pd.DataFrame(rows), made[name][-1], tables.PREDICTIONS)
                history = {"epoch": [1, 2], "loss": [0.6, 0.5], "auc": [0.7, 0.8 + 0.01 * fold], "seconds": 30.0}
                histories[name].append(part / "history.csv")
                pd.DataFrame(history).to_csv(histories[name][-1], index=False)
        evaluations = [folder / f"evaluate-{k}.json" for k in range(len(models))]
        for path, name in zip(evaluations, models, strict=True):
            evaluate(oof[name], folder / "folds.parquet", path, model=name, tta=tta)
        blend = [folder / name for name in ("oof.parquet", "test.parquet", "ensemble.json")]
        ensemble(oof, test, folder / "folds.parquet", *blend, method=method)
        sample = folder / "sample_submission.csv"
        sample.write_text("id,label\n" + "".join(f"{name},0\n" for name in tests))
        truth = folder / "truth.csv"
        truth.write_text("id,label\n" + "".join(f"{name},{k % 2}\n" for k, name in enumerate(tests)))
        figures = folder / "submission.json"
        submission_csv(sample, blend[1], folder / "audit.json", truth, folder / "submission.csv", figures)
        self.results = Results(
            template=TEMPLATE, layout=LAYOUT, audit=folder / "audit.json", tiles=folder / "tiles.parquet",
            overlaps=folder / "overlaps.parquet", groups=folder / "groups.parquet", folds=folder / "folds.parquet",
            fold_figures=folder / "folds.json", train_shards=[folder / "pack/train-00000.h5"],
            test_shards=[folder / "pack/test-00000.h5"], histories=histories, trainings={}, evaluations=evaluations,
            ensemble=blend[2], oof=blend[0], submission=figures,
        )  # fmt: skip
        self.config = {
            "dataset": {"name": "made", "source": "synthetic"}, "folds": {"count": folds, "seed": 3, "slides": None},
            "stain": {"method": "none"}, "classical": {},
            "validate": {"id_is_sha1": True}, "audit": {"on_fault": "leave_out", "leave_out": []},
            "predict": {"tta": tta, "average": "probabilities"},
        }  # fmt: skip
        self.benchmarks = folder / "benchmarks"

    def write(self, **changes) -> Page:
        output = self.folder / "report.html"
        arguments = {"config": self.config, "models": self.models, "code": {"train": {"train.py": "abc123"}}}
        module.report(
            changes.pop("results", self.results), output, self.folder / "config.yaml", benchmarks=self.benchmarks,
            **(arguments | {"sent": []} | changes),
        )  # fmt: skip
        return Page(output)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Run:
    run = Run(tmp_path_factory.mktemp("run"))
    (run.benchmarks / "train/small").mkdir(parents=True)
    (run.benchmarks / "train/small/fold-0.tsv").write_text(HEADER + "70.0\t0:01:10\t900.4\t1\t1\t1\t1\t1\t1\t1\n")
    (run.benchmarks / "train/small/fold-1.tsv").write_text(HEADER + "60.5\t0:01:00\t1200.2\t1\t1\t1\t1\t1\t1\t1\n")
    (run.benchmarks / "audit.tsv").write_text(HEADER + "0.02\t0:00:00\t-\t-\t-\t-\t-\t-\t0.00\tNA\n")
    return run


@pytest.fixture(scope="module")
def page(made) -> Page:
    return made.write()


def test_the_page_needs_nothing_from_outside(page):
    page.check_whole()


def test_every_picture_has_a_text_and_every_column_a_head(page):
    pictures = [attrs for attrs in page.all("svg") if "aria-hidden" not in attrs]
    # 5 charts, 2 of each model's training; 8 + 8 samples, 1 faulty tile, 8 + 8 wrong ones.
    assert len(pictures) == 5 + 4 + 17 + 16
    assert all(attrs["role"] == "img" and len(attrs["aria-label"]) > 10 for attrs in pictures)
    assert all(attrs["scope"] in ("col", "row") for attrs in page.all("th") if attrs)


def test_the_headline_gives_auc_interval_and_hidden_score(made, page):
    final, truth = read_json(made.results.ensemble), read_json(made.results.submission)["truth"]
    cards = page.text[: page.text.index("Read this first")]
    assert f"Out-of-fold AUC {final['auc']:.4f}" in cards
    assert f"{final['auc_low']:.4f} to {final['auc_high']:.4f}" in cards
    assert f"AUC on hidden labels {truth['auc']:.4f}" in cards
    assert "Networks 4 2 models × 2 folds" in cards
    assert f"Training tiles 118 {100 * made.audit['positive_share']:.1f} % with tumour" in cards


def test_the_tables_hold_the_figures_of_each_model(made, page):
    for path in [*made.results.evaluations, made.results.ensemble]:
        row = read_json(path)
        figures = " ".join(f"{row[name]:.4f}" for name in ("accuracy", "precision", "recall", "f1"))
        spread = f"{row['auc_mean_of_folds']:.4f} ± {row['auc_std_of_folds']:.4f}"
        low, high = row["auc_low"], row["auc_high"]
        assert f"{row['model']} {row['auc']:.4f} {low:.4f} to {high:.4f} {spread} {figures}" in page.text
        assert f"{row['model']} {' '.join(format(fold['auc'], '.4f') for fold in row['folds'])}" in page.text
    (tn, fp), (fn, tp) = read_json(made.results.ensemble)["confusion"]
    assert f"truly no tumour {tn} {100 * tn / (tn + fp):.1f} % {fp}" in page.text
    assert f"truly tumour {fn} {100 * fn / (fn + tp):.1f} % {tp}" in page.text
    assert "small 2 min 00 s for all folds" in page.text


def test_counts_faults_groups_folds_and_overlaps_are_stated(page):
    assert "train 120 118 2 test 20 20 0" in page.text
    assert "bad_label a label other than 0 and 1 1 0" in page.text
    assert "unreadable cut short" in page.text
    assert "There are 12 groups; the largest has 10 tiles." in page.text
    assert f"slide {module.REASONS['slide']} 70 7" in page.text
    assert f"alone {module.REASONS['alone']} 48 5" in page.text
    assert "0 1,000 50.0 % 7 1 1,001 50.0 % 7" in page.text
    assert "4 tiles show tissue that another tile shows too" in page.text
    assert "Pairs of them: 1 among the training tiles, 0 among the test tiles, 1 between the two." in page.text
    assert "1 tile is a copy of another." in page.text


def test_warnings_come_before_all_else(page):
    box = page.text[page.text.index("Read this first") : page.text.index("What was run")]
    assert "Left out because of a fault: 2 training and 0 test tiles." in box
    assert (
        f"Test tiles without a prediction: 1. The submission gives them the share of positives, {39 / 118:.4f}." in box
    )
    assert "The folds know no slides" in box
    assert "Pairs of a training and a test tile that share tissue: 1." in box


def test_unwanted_tiles_are_not_called_faulty(made):
    path = made.folder / "left-out.json"
    kept = {"train": made.audit["kept"]["train"] - 3, "test": TEST}
    write_json(path, made.audit | {"kept": kept, "left_out": {"blank": 3, "black": 0}})
    page = made.write(results=replace(made.results, audit=path))
    assert "Left out because of a fault: 2 training and 0 test tiles." in page.text
    assert "Training tiles left out as `audit.leave_out` says: 3 blank, 0 black." in page.text


def test_settings_versions_and_code_are_stated(made, page):
    assert "network residual residual" in page.text
    assert "8 views: flips and quarter turns, mean of their probabilities" in page.text
    assert "ensemble mean of the probabilities" in page.text
    assert f"numpy {np.__version__}" in page.text
    assert "train.py abc123" in page.text
    assert yaml.safe_load((made.folder / "config.yaml").read_text()) == made.config


def test_times_are_summed_over_jobs(page):
    assert "train 2 2 min 10 s 1 min 10 s 1,200 MB" in page.text
    assert "audit 1 0.0 s 0.0 s –" in page.text
    assert "all 3 2 min 11 s" in page.text


def test_parts_of_the_hidden_labels_have_a_row_each(made):
    path = made.folder / "parts.json"
    figures = read_json(made.results.submission)
    figures["truth"]["parts"] = {"public": {"auc": 0.75}, "private": {"auc": 0.625}}
    write_json(path, figures)
    page = made.write(results=replace(made.results, submission=path))
    assert "AUC on hidden labels, public part 0.7500 AUC on hidden labels, private part 0.6250" in page.text


def test_every_source_of_tiles_has_words():
    schema = yaml.safe_load((TEMPLATE.parent.parent / "schemas/config.schema.yaml").read_text())
    assert list(module.SOURCES) == schema["properties"]["dataset"]["properties"]["source"]["enum"]


def test_parameters_device_and_precision_come_from_the_trainings(made):
    path = made.folder / "training.json"
    write_json(path, {"parameters": 311_234, "device": "NVIDIA H200", "precision": "bfloat16"})
    trainings = {name: [path, path] for name in made.models}
    page = made.write(results=replace(made.results, trainings=trainings))
    assert "wide computed on NVIDIA H200, bfloat16" in page.text
    assert page.text.count("311 k") == 2


def test_one_model_one_fold_no_fault_no_times_no_truth(tmp_path):
    run = Run(tmp_path, models=["only"], folds=1, faults=False, unpredicted=0)
    figures = read_json(run.results.submission)
    del figures["truth"]
    write_json(run.results.submission, figures)
    config = run.config | {"folds": {"count": 1, "seed": 1, "slides": "slides.csv"}}
    page = run.write(config=config)
    assert "None: every listed tile is there" in page.text
    assert "No times were recorded." in page.text
    assert "1 model × 1 fold " in page.text
    assert "ensemble" not in page.text
    tta = read_json(run.results.evaluations[0])["tta"]
    table = f"AUC of one view 4 flips 8 flips and turns only {' '.join(f'{value:.4f}' for value in tta.values())} "
    assert f"What averaging gains {table}" in page.text
    assert "fitted" not in page.text
    assert "hidden labels" not in page.text
    assert "±" not in page.text.replace("mean ± sd", "")
    assert "a fault" not in page.text
    assert f"The slide of 50 of {TRAIN} training tiles is unknown." in page.text


def test_what_averaging_gains_stands_in_one_table(made, page):
    models, final = [read_json(path) for path in made.results.evaluations], read_json(made.results.ensemble)
    table = page.text.partition("What averaging gains ")[2]
    expected = "AUC of one view 4 flips 8 flips and turns fitted weight"
    for row in models:
        shares = [weights[row["model"]] for weights in final["weights_by_fold"]]
        areas = " ".join(f"{row['tta'][name]:.4f}" for name in ("none", "flips", "all"))
        weight = f"{final['weights'][row['model']]:.4f} {min(shares):.4f} to {max(shares):.4f}"
        expected += f" {row['model']} {areas} {weight}"
    for method, name in (("mean", "mean (submitted)"), ("rank_mean", "mean of ranks"), ("weights", "weighted mean")):
        expected += f" ensemble, {name} – – {final['methods'][method]:.4f} –"
    assert table.startswith(expected)
    assert models[0]["tta"]["all"] == models[0]["auc"] != models[0]["tta"]["none"]
    assert final["methods"]["mean"] == final["auc"]


def test_gains_show_the_columns_that_are_known(made):
    rated = [read_json(path) for path in made.results.evaluations]
    final = read_json(made.results.ensemble) | {"method": "weights"}
    for row in rated:
        row["tta"] |= {"flips": None, "all": None}
    table = gains_table(rated, final, {"predict": {"tta": "none"}})
    assert table["views"] == ["one view"]
    assert [row["auc"] for row in table["rows"]] == [
        *([row["tta"]["none"]] for row in rated), *([area] for area in final["methods"].values())
    ]  # fmt: skip
    assert [row["submitted"] for row in table["rows"]] == [False, False, False, False, True]
    # A model without views has its one figure where it belongs, and the blend stands where the others are chosen.
    rated[0]["tta"] |= {"flips": 0.75, "all": 0.8}
    table = gains_table(rated, final, {"predict": {"tta": "all"}})
    assert [row["auc"][1:] for row in table["rows"]][:2] == [[0.75, 0.8], [None, None]]
    assert table["rows"][2]["auc"] == [None, None, final["methods"]["mean"]]
    # One figure alone is no comparison.
    assert gains_table(rated[1:], final, {"predict": {"tta": "none"}}) is None


def test_ranks_are_not_called_probabilities(tmp_path):
    run = Run(tmp_path, models=["only"], tta="none", method="rank_mean")
    page = run.write()
    final = read_json(run.results.ensemble)
    assert "The ensemble's values are mean ranks, no probabilities" in page.text
    assert f"ensemble {final['methods']['rank_mean']:.4f} {final['auc_low']:.4f} to" in page.text
    assert "What averaging gains" not in page.text
    assert "mean ranks" not in Run(tmp_path / "mean", models=["only"], tta="none").write().text


def test_hostile_names_stay_texts(tmp_path):
    hostile = "<script>alert(1)</script>"
    run = Run(tmp_path, models=[hostile, "b&<b>"], folds=2)
    page = run.write(config=run.config | {"dataset": {"name": hostile, "source": "archive"}})
    assert not page.all("script")
    assert not page.all("i")
    assert page.text.count(hostile) > 5
    assert "the label is '<i>2</i>'" in page.text


def test_a_missing_file_is_named(made):
    with pytest.raises(InputError, match=r"gone\.json: no such file"):
        made.write(results=replace(made.results, submission=Path("gone.json")))


def test_the_most_wrong_tiles_come_first_and_right_ones_never(made):
    shards = {"train": open_shards(made.results.train_shards, "train")}
    frame = made.tiles[made.tiles["kept"] & (made.tiles["split"] == "train")].head(6).assign(fold=1)
    frame = frame.assign(label=[0, 0, 0, 1, 1, 1], probability=[0.7, 0.9, 0.2, 0.5, 0.4, 0.1])
    positives, negatives = most_wrong(shards, frame)
    assert (positives["count"], negatives["count"]) == (2, 2)
    assert re.findall(r"<b>([\d.]+), fold 1</b>", positives["tiles"]) == ["0.9000", "0.7000"]
    assert re.findall(r"<b>([\d.]+), fold 1</b>", negatives["tiles"]) == ["0.1000", "0.4000"]
    assert re.findall(r'title="(\w+)"', positives["tiles"]) == frame["id"].iloc[[1, 0]].tolist()
    # What is shown is the tile that the caption names.
    data = base64.b64decode(re.search(r"base64,([^\"]+)", positives["tiles"])[1])
    assert data == sprite(made.images[frame["row"].iloc[[1, 0]]])


def test_calibration_bins_hold_equally_many_tiles():
    probabilities = np.arange(20) / 20
    means, shares = calibration((np.arange(20) >= 10).astype(int), probabilities)
    assert means == pytest.approx([0.025 + 0.1 * k for k in range(10)])
    assert shares == [0.0] * 5 + [1.0] * 5


def test_settings_that_are_off_everywhere_are_left_out():
    rows = settings_table(
        {
            "a": {"network": {"name": "residual", "width": 8, "dropout": 0.0}, "ema": 0.0, "compile": True, "x": None},
            "b": {"network": {"name": "wide"}, "ema": 0.0, "compile": False, "x": None},
        }
    )
    assert rows == [("network", ["residual, width 8", "wide"]), ("compile", ["on", "off"])]


def test_a_model_that_is_no_network_has_settings_and_figures_but_no_training(made):
    forest = {"classical": {"wide": {"method": "random_forest", "n_estimators": 10}}}
    results = replace(made.results, histories={"small": made.results.histories["small"]})
    page = made.write(models={"small": made.models["small"]}, config=made.config | forest, results=results)
    assert "method – random_forest" in page.text and "network residual –" in page.text
    assert "Networks 2 1 model × 2 folds" in page.text
    none = made.write(models={}, config=made.config | forest, results=replace(made.results, histories={}))
    assert "None of the models is a network." in none.text
    assert "Networks 0 0 models × 2 folds" in none.text


def test_stages_stand_in_the_order_of_the_workflow(made, tmp_path):
    assert [row["stage"] for row in read_times(made.benchmarks)] == ["audit", "train"]
    assert read_times(tmp_path / "missing") == []


def test_scores_of_what_was_sent(made):
    digest = read_json(made.results.submission)["sha256"]
    row = {"reference": 7, "status": "complete", "public": 0.97531, "private": 0.9642, "oof_auc": 0.98, "error": ""}
    earlier = {"reference": 5, "time": "2026-01-01T00:00:00Z", "oof_auc": None, "sha256": None, "private": None}
    write_json(made.folder / "one.json", row | {"sent": "2026-01-02T00:00:00Z", "sha256": digest})
    listed = [row | {"time": "2026-01-02T00:00:00Z", "sha256": digest[:16]}, row | earlier]
    write_json(made.folder / "all.json", {"submissions": listed})
    page = made.write(sent=[made.folder / "one.json", made.folder / "all.json"])
    text = page.text
    assert "7 (this one) 2026-01-02T00:00:00Z complete 0.9753 0.9642 0.9800" in text
    assert "5 2026-01-01T00:00:00Z complete 0.9753 – –" in text
    assert text.index("7 (this one)") < text.index("5 2026-01-01")
    assert "Sent to Kaggle" not in made.write().text
