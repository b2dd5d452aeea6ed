"""The report: one file that shows the values of the stages, whichever of them are missing."""

import hashlib
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import yaml

import report
from ensemble_by_stain import ensemble_by_stain
from histo import tables
from histo.config.configuration import PREDEFINED, check, default_settings, train_settings
from histo.config.dataset import Dataset
from histo.config.train import TrainSettings
from histo.errors import InputError
from histo.files import read_json, write_json
from histo.formatting import duration
from histo.pages.layout import SOURCES, provenance
from histo.pages.report_data import REASONS
from histo.pages.run_times import Run
from histo.pages.settings_table import settings_table
from histo.statistics.comparison import expected_auc
from histo.tiles.shards import open_shards
from support.html_page import Page
from support.results import TEST, TRAIN, FinishedRun, finished_run

BENCHMARK = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> FinishedRun:
    """Two models with two folds each, and the benchmark files of three jobs."""
    run = finished_run(tmp_path_factory.mktemp("run"))
    (run.benchmarks / "train/small").mkdir(parents=True)
    (run.benchmarks / "train/small/fold-0.tsv").write_text(BENCHMARK + "70.0\t0:01:10\t900.4\t1\t1\t1\t1\t1\t1\t1\n")
    (run.benchmarks / "train/small/fold-1.tsv").write_text(BENCHMARK + "60.5\t0:01:00\t1200.2\t1\t1\t1\t1\t1\t1\t1\n")
    (run.benchmarks / "audit.tsv").write_text(BENCHMARK + "0.02\t0:00:00\t-\t-\t-\t-\t-\t-\t0.00\tNA\n")
    return run


@pytest.fixture(scope="module")
def page(run) -> Page:
    return run.write_report()


def test_the_page_is_self_contained(page):
    page.check_self_contained()


def test_every_image_has_an_alternative_text_and_every_table_header_a_scope(run, page):
    page.check_accessible()
    (_, fp), (fn, _) = read_json(run.inputs.ensemble)["confusion"]
    # 7 charts, one of them the corner of the ROC curve, 4 learning curves per model; 8 + 8 samples, 1 faulty tile, at
    # most 24 + 24 errors, 1 mosaic.
    assert len(page.images()) == 7 + 8 + 17 + min(fp, 24) + min(fn, 24) + 1


def test_the_cards_show_auc_interval_and_test_auc(run, page):
    ensemble, truth = read_json(run.inputs.ensemble), read_json(run.inputs.submission)["truth"]
    cards = page.text[: page.text.index("Warnings")]
    assert f"Out-of-fold AUC {ensemble['auc']:.4f} 95 % CI" in cards
    assert f"{ensemble['auc_low']:.4f} to {ensemble['auc_high']:.4f}" in cards
    assert f"Held-out test AUC {truth['auc']:.4f} 95 % CI {truth['auc_low']:.4f} to {truth['auc_high']:.4f}" in cards
    assert "Networks 4 2 models × 2 folds" in cards
    assert f"Training tiles 118 {100 * run.audit['positive_share']:.1f} % with tumour" in cards
    assert "Rows of the submission 20 1 without a prediction" in cards


def test_the_tables_show_the_metrics_of_each_model(run, page):
    for path in [*run.inputs.evaluations, run.inputs.ensemble]:
        row = read_json(path)
        spread = f"{row['auc_std_of_folds']:.4f}"
        pooled = f"{row['auc_pooled']:.4f} {row['auc_pooled_low']:.4f} to {row['auc_pooled_high']:.4f}"
        low, high = row["auc_low"], row["auc_high"]
        assert f"{row['model']} {row['auc']:.4f} {low:.4f} to {high:.4f} {spread} {pooled}" in page.text
        assert f"{row['model']} {' '.join(format(fold['auc'], '.4f') for fold in row['folds'])}" in page.text
    rows = [read_json(path)["probability"] for path in (*run.inputs.evaluations, run.inputs.ensemble)]
    for key, name in (
        ("recall", "sensitivity (recall) threshold 0.5"),
        ("brier", "Brier score"),
        ("log_loss", "log loss"),
    ):
        values = " ".join(f"{row[key]['value']:.3f} {row[key]['low']:.3f} to {row[key]['high']:.3f}" for row in rows)
        assert f"{name} {values}" in page.text
    (tn, fp), (fn, tp) = read_json(run.inputs.ensemble)["confusion"]
    assert f"label: no tumour {tn} {100 * tn / (tn + fp):.1f} % {fp}" in page.text
    assert f"label: tumour {fn} {100 * fn / (fn + tp):.1f} % {tp}" in page.text
    assert "training of small all folds 2 min 00 s" in page.text


def test_the_data_section_shows_counts_faults_groups_folds_and_overlaps(page):
    assert "train 120 118 2 test 20 20 0" in page.text
    assert "bad_label a label that is not one of the classes 1 0" in page.text
    assert "unreadable cut short" in page.text
    assert "There are 12 groups; the largest has 10 tiles." in page.text
    assert f"slide {REASONS['slide']} 70 7" in page.text
    assert f"alone {REASONS['alone']} 48 5" in page.text
    assert "0 1,000 50.0 % 7 1 1,001 50.0 % 7" in page.text
    assert "4 tiles share tissue with another tile" in page.text
    assert (
        "Pairs that share tissue: 1 within the training set, 0 within the test set, 1 between the two sets."
        in page.text
    )
    assert "1 tile is a duplicate of another tile." in page.text


def test_the_warnings_precede_the_first_section(page):
    box = page.text[page.text.index("Warnings") : page.text.index("Numbers:")]
    assert "Tiles excluded because of a fault: 2 training and 0 test tiles." in box
    assert "Test tiles without a prediction: 1. In the submission they have the proportion of positive training" in box
    assert f"training tiles, {39 / 118:.4f}." in box
    assert "No table of slides is given ( folds.slides ), so only tiles that share pixels are kept in one fold." in box
    assert "Pairs of a training and a test tile that share tissue: 1." in box
    assert "(<code>folds.slides</code>)" in page.source


def test_intervals_of_unknown_slides_are_called_too_narrow_where_they_are_shown_first(page):
    cards = page.text[: page.text.index("Warnings")]
    assert "mean of the AUCs of the folds slides unknown: interval too narrow" in cards
    assert "19 new tiles slides unknown: interval too narrow" in cards


def test_where_most_slides_are_unknown_the_expected_auc_has_an_upper_limit_only(run):
    groups = tables.read(run.inputs.groups, tables.GROUPS).assign(reason="alone")
    tables.write(groups, run.folder / "alone.parquet", tables.GROUPS)
    page = run.write_report(inputs=replace(run.inputs, groups=run.folder / "alone.parquet"))
    high = read_json(run.inputs.ensemble)["expected"]["high"]
    assert (
        f"Expected test AUC at most {high:.3f} upper 95 % prediction limit, 19 new tiles slides unknown: no lower limit"
        in page.text
    )
    bound = "so this AUC is an upper bound for other slides; folds.also_by_stain gives a lower one where all models"
    assert bound in page.text
    assert read_json(run.folder / "report.json")["expected_test_auc"]["low"] is None


def test_the_lower_limit_of_several_models_is_that_of_their_ensemble_on_folds_by_stain(run):
    groups = tables.read(run.inputs.groups, tables.GROUPS).assign(reason="alone")
    tables.write(groups, run.folder / "alone.parquet", tables.GROUPS)
    by_stain = run.folder / "ensemble-by-stain.json"
    ensemble_by_stain(run.inputs.predictions, run.inputs.folds, by_stain, method="mean")
    found = read_json(by_stain)
    write_json(by_stain, found | {"auc": 0.2, "auc_low": 0.0123, "auc_high": 0.9876})
    inputs = replace(run.inputs, groups=run.folder / "alone.parquet", ensemble_by_stain=by_stain)
    page = run.write_report(inputs=inputs)
    low = expected_auc(read_json(by_stain), 19)["low"]
    high = read_json(run.inputs.ensemble)["expected"]["high"]
    assert f"Expected test AUC {low:.3f} to {high:.3f} 95 % prediction limits, new to same laboratory" in page.text
    assert "0.0123 to 0.9876" in page.text[page.text.index("Same laboratory and new laboratory") :]
    assert read_json(run.folder / "report.json")["expected_test_auc"] == {
        "low": low, "high": high, "tiles": 19, "by_stain": True
    }  # fmt: skip


def test_the_expected_auc_of_networks_trained_on_all_tiles_is_said_to_be_that_of_the_folds(run, page):
    card, note = "new tiles, one network of a fold", "so the AUC of the submission may be above it."
    assert card not in page.text and note not in page.text
    blended = run.config["submission"] | {"full_networks": 2}
    full = run.write_report(config=run.config | {"submission": blended})
    assert card in full.text and note in full.text
    # Classical models are not trained on all tiles.
    classical = run.write_report(config=run.config | {"submission": blended, "models": {}})
    assert card not in classical.text and note not in classical.text


def test_results_come_first_and_settings_last(page):
    headings = re.findall(r"<h2>(.*?)</h2>", page.source)
    assert headings == [
        "Warnings", "Results", "Use at a threshold", "Calibration", "Where it fails",
        "Look at the tiles: largest errors", "Look at the tissue: out-of-fold probability of tumour",
        "Training", "Data and folds", "Submission", "How it was made",
    ]  # fmt: skip


def test_warnings_are_ordered_by_weight(page):
    weights = re.findall(r"<li><b>(.*?)\.</b>", page.source)
    assert weights == ["May bias the AUC"] * 2 + ["Concerns single predictions"] * 2 + ["For information"]
    assert page.text.index("No table of slides") < page.text.index("Tiles excluded because of a fault")


def test_the_first_sentence_says_what_the_auc_stands_for(run, page):
    ensemble, truth = read_json(run.inputs.ensemble), read_json(run.inputs.submission)["truth"]
    interval = f"(95 % CI {ensemble['auc_low']:.4f} to {ensemble['auc_high']:.4f})"
    start = f"On tiles that the networks were not trained on, the AUC is {ensemble['auc']:.4f} {interval}"
    assert (
        f"{start}; slides are unknown, so it may be too high for new slides; on the held-out test tiles it is "
        f"{truth['auc']:.4f}; 2 of the warnings below may bias it." in page.text
    )
    known = run.config | {"folds": run.config["folds"] | {"slides": "slides.csv"}}
    groups = tables.read(run.inputs.groups, tables.GROUPS).assign(reason="slide")
    tables.write(groups, run.folder / "all-slides.parquet", tables.GROUPS)
    overlaps = tables.read(run.inputs.overlaps, tables.OVERLAPS).assign(confirmed=False)
    tables.write(overlaps, run.folder / "no-overlaps.parquet", tables.OVERLAPS)
    changed = {"groups": run.folder / "all-slides.parquet", "overlaps": run.folder / "no-overlaps.parquet"}
    page = run.write_report(config=known, inputs=replace(run.inputs, **changed))
    assert f"{start}; the slides of these tiles were not in training either; on the held-out test tiles" in page.text
    assert "may bias it" not in page.text


def test_numbers_are_linked(run, page):
    names = ["evaluate-0.json", "evaluate-1.json", "ensemble.json", "submission.json", "audit.json", "folds.json"]
    files = [*names, "report.json", "numbers.csv", "errors.csv", "config.yaml"]
    assert f"Numbers: {' , '.join(files)} ." in page.text
    assert all((run.folder / name).is_file() for name in files)


def test_pixels_of_jpeg_tiles_are_not_called_identical(run, page):
    assert "the pixels of the shared region are identical." in page.text
    write_json(run.folder / "lossy.json", {"lossy": True})
    page = run.write_report(inputs=replace(run.inputs, overlaps_summary=run.folder / "lossy.json"))
    assert "identical, except those at the edges of blocks of 16 × 16 pixels, which JPEG compression" in page.text


def test_flagged_tiles_are_not_counted_as_faulty(run):
    """Changed: three training tiles are excluded because of their quality flag."""
    path = run.folder / "left-out.json"
    kept = {"train": run.audit["kept"]["train"] - 3, "test": TEST}
    write_json(path, run.audit | {"kept": kept, "left_out": {"blank": 3, "black": 0}})
    page = run.write_report(inputs=replace(run.inputs, audit=path))
    assert "Tiles excluded because of a fault: 2 training and 0 test tiles." in page.text
    assert "Training tiles excluded by the setting audit.leave_out : 3 blank, 0 black." in page.text


def test_warnings_on_biased_estimates(run):
    """Changed: the epoch and the settings were chosen by validation AUC, ids are not checked, the test AUC is low."""
    path = run.folder / "low.json"
    summary = read_json(run.inputs.submission)
    summary["truth"] |= {"auc": 0.25, "auc_error": 0.05, "auc_error_tiles": 0.05, "auc_degrees": 30}
    write_json(path, summary)
    models = {"small": {"checkpoint": "best"}, "wide": {"checkpoint": "last", "search": "fine"}}
    config = run.config | {"validate": {"id_is_sha1": False}}
    auc = read_json(run.inputs.ensemble)["auc"]
    page = run.write_report(inputs=replace(run.inputs, submission=path), models=models, config=config)
    assert (
        "small: the epoch was chosen by validation AUC, so the out-of-fold AUC is optimistically biased." in page.text
    )
    assert "wide: a search chose the settings by validation AUC on folds that are evaluated here" in page.text
    assert "The pixels were not checked against the SHA-1 in the tile ids" in page.text
    assert f"The AUC on the held-out test labels, 0.2500, is below the out-of-fold AUC, {auc:.4f}, by more" in page.text


def test_settings_versions_and_code_are_stated(run, page):
    assert "network residual residual" in page.text
    assert "8 views: flips and 90° rotations, mean of their probabilities" in page.text
    assert "ensemble mean of probabilities" in page.text
    assert f"numpy {np.__version__}" in page.text
    assert "train.py abc123" in page.text
    run.write_report()
    assert yaml.safe_load((run.folder / "config.yaml").read_text()) == run.config


def test_run_times_are_summed_over_jobs(page):
    assert "train 2 2 min 10 s 1 min 10 s 2.0 s 1,200 MB" in page.text
    assert "audit 1 0.0 s 0.0 s – –" in page.text
    assert "all stages 3 2 min 11 s 2.0 s" in page.text


def test_parts_of_the_test_labels_have_a_row_each(run):
    """Changed: the AUC is also known for the public and the private part."""
    path = run.folder / "parts.json"
    summary = read_json(run.inputs.submission)
    summary["truth"]["parts"] = {"public": {"auc": 0.75}, "private": {"auc": 0.625}}
    write_json(path, summary)
    page = run.write_report(inputs=replace(run.inputs, submission=path))
    rows = "AUC on held-out test labels, public part 0.7500 AUC on held-out test labels, private part 0.6250"
    assert rows in page.text


def test_every_source_of_tiles_has_a_description():
    sources = get_args(get_args(Dataset)[0])
    assert list(SOURCES) == [get_args(source.model_fields["source"].annotation)[0] for source in sources]


def test_parameters_device_and_precision_are_those_of_the_trainings(run):
    """Changed: the networks have a training.json."""
    path = run.folder / "training.json"
    write_json(path, {"parameters": 311_234, "device": "NVIDIA H200", "precision": "bfloat16"})
    trainings = {name: [path, path] for name in run.models}
    page = run.write_report(inputs=replace(run.inputs, trainings=trainings))
    assert "wide trained on NVIDIA H200, bfloat16" in page.text
    assert page.text.count("311 k") == 2


def test_a_single_model_and_fold_without_faults_run_times_and_test_labels(tmp_path):
    run = finished_run(tmp_path, models=["only"], folds=1, faults=False, unpredicted=0)
    summary = read_json(run.inputs.submission)
    del summary["truth"]
    write_json(run.inputs.submission, summary)
    folds = run.config["folds"] | {"count": 1, "seed": 1, "fraction": 0.5, "slides": "slides.csv"}
    page = run.write_report(config=run.config | {"folds": folds})
    assert "training tiles are used, by the setting folds.fraction ." in page.text
    assert "No faults: every listed tile exists" in page.text
    assert "No run times were recorded." in page.text
    assert "1 model × 1 fold " in page.text
    assert "ensemble" not in page.text.replace("ensemble.json", "")
    tta = read_json(run.inputs.evaluations[0])["tta"]
    values = " ".join(f"{value:.4f}" for value in tta.values())
    header = "mean AUC of the folds 1 view 4 views: flips 8 views: flips and 90° rotations"
    assert f"Gain from averaging {header} only {values} " in page.text
    assert "blend weight" not in page.text
    assert "test labels" not in page.text
    assert "±" not in page.text.replace("mean ± SD", "")
    assert "a fault" not in page.text
    assert f"The slide of 50 of {TRAIN} training tiles is unknown." in page.text


def test_the_gain_from_averaging_is_one_table(run, page):
    evaluations, ensemble = [read_json(path) for path in run.inputs.evaluations], read_json(run.inputs.ensemble)
    table = page.text.partition("Gain from averaging ")[2]
    expected = "mean AUC of the folds 1 view 4 views: flips 8 views: flips and 90° rotations fitted blend weight"
    for row in evaluations:
        weights = [by_model[row["model"]] for by_model in ensemble["weights_by_fold"]]
        aucs = " ".join(f"{row['tta'][name]:.4f}" for name in ("none", "flips", "all"))
        weight = f"{ensemble['weights'][row['model']]:.4f} {min(weights):.4f} to {max(weights):.4f}"
        expected += f" {row['model']} {aucs} {weight}"
    names = {
        "mean": "mean of probabilities (selected)",
        "rank_mean": "mean of ranks",
        "weights": "weighted mean of probabilities",
    }
    for method, name in names.items():
        expected += f" ensemble, {name} – – {ensemble['methods'][method]:.4f} –"
    assert table.startswith(expected)
    assert evaluations[0]["tta"]["all"] == evaluations[0]["auc"] != evaluations[0]["tta"]["none"]
    assert ensemble["methods"]["mean"] == ensemble["auc"]


def test_comparison_thresholds_and_failures_are_those_of_the_ensemble(run, page):
    ensemble = read_json(run.inputs.ensemble)
    best = ensemble["comparison"]["best"]
    (other,) = (row for row in ensemble["comparison"]["rows"] if row["model"] != best)
    assert f"difference to {best} 95 % CI" in page.text
    p = "< 0.001" if other["p_holm"] < 0.001 else f"{other['p_holm']:.3f}"
    assert f"{other['difference']:+.4f} {other['low']:+.4f} to {other['high']:+.4f} {p}" in page.text
    for row in ensemble["probability"]["thresholds"]:
        found = row["sensitivity"]
        assert f"{found['value']:.3f} {found['low']:.3f} to {found['high']:.3f} {found['hits']} of 39" in page.text
    assert "No group has at least 20 tiles" in page.text
    correlation, disagreement = (ensemble["agreement"][name][0][1] for name in ("correlation", "disagreement"))
    assert f"{correlation:.3f} {100 * disagreement:.1f} %" in page.text
    expected = ensemble["expected"]
    assert f"Expected test AUC {expected['low']:.3f} to {expected['high']:.3f}" in page.text
    assert expected["low"] < ensemble["auc_low"] < ensemble["auc_high"] < expected["high"]


def test_the_spread_of_seeds_is_compared_with_that_of_models(run):
    path = run.folder / "seeds.json"
    row = {"models": ["small", "small-2"], "auc": 0.91, "lowest": 0.9, "highest": 0.92, "deviation": 0.0141}
    for share, text in (
        (0.25, "explain 25.0 % of the variance of the AUC between models"),
        (None, "cannot be compared"),
    ):
        seeds = {"rows": [row], "deviation": 0.0141, "share": share}
        write_json(path, read_json(run.inputs.ensemble) | {"seeds": seeds})
        page = run.write_report(inputs=replace(run.inputs, ensemble=path))
        assert "small, small-2 0.9100 0.9000 0.9200 0.0141" in page.text and text in page.text


@pytest.mark.parametrize(("shift", "warned"), [(0.0, False), (0.03, False), (0.3, True)])
def test_a_mean_probability_far_from_training_is_flagged(run, shift, warned):
    """Changed: the mean of the submission."""
    path = run.folder / "mean.json"
    mean = read_json(run.inputs.ensemble)["probability"]["mean"]["value"]
    write_json(path, read_json(run.inputs.submission) | {"mean": mean + shift})
    page = run.write_report(inputs=replace(run.inputs, submission=path))
    text = f"The mean probability of the submission is {mean + shift:.3f}; out-of-fold it is {mean:.3f}"
    assert (text in page.text) == warned


def test_a_lower_test_auc_is_no_warning_where_errors_explain_it(run):
    """Changed: 0.1 lower with a standard error of 0.05; with 0.01, or less of slides, it is a warning."""
    path = run.folder / "lower.json"
    summary, ensemble = read_json(run.inputs.submission), read_json(run.inputs.ensemble)
    for error, warned in ((0.08, False), (0.001, True)):
        auc = ensemble["auc"] - 5 * ensemble["auc_error"] * (1 if warned else 0.3)
        summary["truth"] |= {"auc": auc, "auc_error": error, "auc_error_tiles": 0.001, "auc_degrees": 50}
        write_json(path, summary)
        page = run.write_report(inputs=replace(run.inputs, submission=path))
        assert ("by more than both errors explain" in page.text) == warned


def test_ranks_are_not_called_probabilities(tmp_path):
    run = finished_run(tmp_path, models=["only"], tta="none", method="rank_mean")
    page = run.write_report()
    ensemble = read_json(run.inputs.ensemble)
    assert "The predictions of the ensemble are mean ranks, not probabilities" in page.text
    assert f"ensemble {ensemble['methods']['rank_mean']:.4f} {ensemble['auc_low']:.4f} to" in page.text
    assert "Gain from averaging" not in page.text
    assert "Confusion matrix" not in page.text and "Calibration. " not in page.text
    assert "Sensitivity and specificity" not in page.text
    assert (
        f"accuracy threshold 0.5 {read_json(run.inputs.evaluations[0])['probability']['accuracy']['value']:.3f}"
        in page.text
    )
    assert "False positives label: no tumour" in page.text
    assert "mean ranks" not in finished_run(tmp_path / "mean", models=["only"], tta="none").write_report().text


def test_names_are_escaped(tmp_path):
    hostile = "<script>alert(1)</script>"
    run = finished_run(tmp_path, models=[hostile, "b&<b>"])
    page = run.write_report(config=run.config | {"dataset": {"name": hostile, "source": "archive"}})
    assert page.all("script") == [{}]
    assert not page.all("i")
    assert page.text.count(hostile) > 5
    assert "the label is '<i>2</i>'" in page.text


def test_a_missing_file_is_named(run):
    with pytest.raises(InputError, match=r"gone\.json"):
        run.write_report(inputs=replace(run.inputs, submission=Path("gone.json")))


def test_settings_that_are_off_in_all_models_are_omitted():
    rows = settings_table(
        {
            "a": {"network": {"name": "residual", "width": 8, "dropout": 0.0}, "ema": 0.0, "compile": True, "x": None},
            "b": {"network": {"name": "wide"}, "ema": 0.0, "compile": False, "x": None},
        },
        {},
    )
    assert rows == [("network", ["residual, width 8", "wide"]), ("compile", ["on", "off"])]


def test_settings_that_differ_from_the_default_are_marked():
    default = TrainSettings().model_dump()
    mark = '<mark title="differs from the default">{}</mark>'.format
    network = {"name": "p4m_residual", "width": 16, "blocks": 2, "hidden": 128, "dropout": 0.0, "stem": "stride"}
    rows = dict(
        settings_table(
            {
                "a": default | {"epochs": 6, "pos_weight": None, "network": network},
                "b": default
                | {"network": {"name": "residual", "width": 8}, "augment": default["augment"] | {"hue": 0.0}},
                "c": {"method": "<forest>"},
            },
            {"a": default, "b": default},
        )
    )
    assert rows["epochs"] == [mark(6), "20", "–"]
    assert rows["pos_weight"] == [mark("off"), str(default["pos_weight"]), "–"]
    assert rows["network"][0] == f"p4m_residual, width {mark(16)}, blocks 2, hidden 128, stem stride"
    assert rows["network"][1:] == [mark("residual, width 8"), "–"]
    assert f"hue {mark('0.0')}" in rows["augment"][1] and "<mark" not in rows["augment"][0]
    assert rows["method"] == ["–", "–", "<forest>"]  # escaped by the template
    assert "patience" not in rows


def test_predefined_models_differ_from_the_default_only_where_the_configuration_says_so():
    def marked(models):
        config = {"dataset": {"name": "default", "source": "kaggle"}, "models": models}
        check(config)
        settings = {name: train_settings(config, name) for name in models}
        rows = settings_table(settings, {name: default_settings(name) for name in models})
        return {key: values for key, values in rows if any("<mark" in value for value in values)}

    assert marked(PREDEFINED) == {}
    mark = '<mark title="differs from the default">{}</mark>'.format
    changed = PREDEFINED | {"lite0": PREDEFINED["lite0"] | {"epochs": 6}, "own": {"batch_size": 32}}
    assert marked(changed) == {"epochs": [mark(6), "20", "20"], "batch_size": ["32", "64", mark(32)]}


def test_the_spread_of_the_networks_of_one_model_has_a_row(run, page):
    for name, row in read_json(run.inputs.ensemble)["spread"].items():
        numbers = f"{row['correlation']:.3f} {100 * row['disagreement']:.1f} % {row['deviation']:.3f}"
        assert f"{name} 2, which differ in fold and seed {numbers}" in page.text


def test_networks_have_a_section_on_attribution(run, page, tmp_path):
    assert 'id="saliency"' not in page.source
    folds = tables.read(run.inputs.folds, tables.FOLDS).head(6)
    table = folds.assign(guess=folds["label"], confidence=0.75, share=[0.1, 0.2] * 3, area=1 / 9, error=0.02)
    table["map"] = [np.full(96 * 96, 100, np.int8)] * len(table)
    tables.write(table, tmp_path / "small.parquet", tables.saliency(96))
    inputs = replace(run.inputs, saliency={"small": tmp_path / "small.parquet"})
    explained = run.write_report(inputs=inputs)
    explained.check_self_contained()
    explained.check_accessible()
    assert "inside the central 32 × 32 pixels; by area 11.1 %" in explained.text
    assert re.search(r"all 6 1 0\.150 (?!\d)", explained.text)  # of one group, without an interval
    assert "by 2.0 % of the absolute attribution (median)" in explained.text
    assert "predicted: no tumour 0.7500, fold 0; 10 % in the centre" in explained.text


def test_networks_have_a_map_of_their_features(run, page, tmp_path):
    assert 'id="features"' not in page.source
    folds = tables.read(run.inputs.folds, tables.FOLDS)
    table = folds.assign(x=folds["label"], y=np.arange(len(folds)), explained_x=0.6, explained_y=0.2)
    tables.write(table, tmp_path / "wide.parquet", tables.FEATURE_MAP)
    mapped = run.write_report(inputs=replace(run.inputs, feature_maps={"wide": tmp_path / "wide.parquet"}))
    mapped.check_self_contained()
    mapped.check_accessible()
    assert re.search(r"wide PCA of 118 training tiles, \d+ drawn; of the variance of the map, the label", mapped.text)
    assert "UMAP" not in mapped.text
    joined = folds.merge(
        pd.concat([tables.read(path, tables.PREDICTIONS) for path in run.inputs.predictions["wide"]]), on="id"
    )
    wrong = int(((joined["probability"] >= 0.5) != (joined["label"] == 1)).sum())
    assert f"{wrong} of 118 tiles are misclassified." in mapped.source

    tables.write(table.assign(explained_x=np.nan, explained_y=np.nan), tmp_path / "wide.parquet", tables.FEATURE_MAP)
    mapped = run.write_report(inputs=replace(run.inputs, feature_maps={"wide": tmp_path / "wide.parquet"}))
    assert "UMAP (McInnes, Healy and Melville 2018, arXiv:1802.03426) places" in mapped.text
    assert "Distances between clusters of a UMAP have no meaning." in mapped.text
    assert re.search(r"wide UMAP of 118 training tiles, \d+ drawn (?!;)", mapped.text)
    assert "PCA" not in mapped.text


def test_errors_csv_has_full_ids_and_all_models(run, page):
    table = pd.read_csv(run.folder / "errors.csv", dtype={"id": str})
    oof = tables.read(run.inputs.oof, tables.PROBABILITIES).merge(
        tables.read(run.inputs.folds, tables.FOLDS)[["id", "label"]], on="id"
    )
    wrong = oof[(oof["probability"] >= 0.5) != (oof["label"] == 1)]
    assert set(table["id"]) == set(wrong["id"]) and len(table) == len(wrong) > 5
    assert f"All {len(table)} misclassified tiles are in errors.csv" in page.text
    assert table["error"].is_monotonic_decreasing
    small = pd.concat([tables.read(path, tables.PREDICTIONS) for path in run.inputs.predictions["small"]])
    expected = small.set_index("id").loc[table["id"], "probability"]
    np.testing.assert_allclose(table["probability_of_small"], expected)
    assert table.loc[0, "id"] in page.text


def test_a_classical_model_has_settings_and_metrics_but_no_training(run):
    """Changed: the model `wide`, then both models, are classical."""
    forest = {"classical": {"wide": {"method": "random_forest", "n_estimators": 10}}}
    inputs = replace(run.inputs, histories={"small": run.inputs.histories["small"]})
    page = run.write_report(models={"small": run.models["small"]}, config=run.config | forest, inputs=inputs)
    assert "method – random_forest" in page.text and "network residual –" in page.text
    assert "Networks 2 1 model × 2 folds" in page.text
    page = run.write_report(models={}, config=run.config | forest, inputs=replace(run.inputs, histories={}))
    assert "No learning curves: none of the models is a network." in page.text
    assert "Networks 0 0 models × 2 folds" in page.text


def test_the_command_its_rules_and_what_is_missing_from_the_times_are_stated(run):
    """Changed: the command is known; its report has not ended."""
    planned = [str(run.benchmarks / name) for name in ("report.tsv", "leaks/a.tsv", "leaks/b.tsv")]
    command = Run(
        command="snakemake --config name='<b>'", started=time.time() - 100, rules={"train": [], "report": ["train"]},
        jobs={"train": 2, "report": 1}, planned=planned,
    )  # fmt: skip
    page = run.write_report(run=command)
    assert "command snakemake --config name='<b>' " in page.text
    assert re.search(r"elapsed time of the command, until this page 1 min \d\d s", page.text)
    assert "processor time of all stages in the table below 2.0 s" in page.text
    assert "Not included, because they had not ended when this page was written: leaks (2 jobs), report ." in page.text
    assert "train × 2" in page.text and "report after train" in page.source
    made = read_json(run.folder / "report.json")["made"]
    digests = "".join(open_shards([path], split)[0].sha256 for split, path in (
        ("test", run.inputs.test_shards[0]), ("train", run.inputs.train_shards[0])))  # fmt: skip
    assert made["tiles_sha256"] == hashlib.sha256(digests.encode()).hexdigest()
    assert f"SHA-256 of the tiles of ids, labels and pixels {made['tiles_sha256']}" in page.text
    assert made["command"] == command.command and made["times_missing"] == {"leaks": 2, "report": 1}
    assert "Rules of the run" not in run.write_report().text


def test_pages_of_equal_runs_differ_in_their_times_alone(run, monkeypatch):
    """Changed: date, elapsed time, times and memory of the jobs, times of the epochs."""
    sources = []
    for day, seconds in ((1, 10.0), (2, 4000.0)):
        date = f"2018-11-0{day} 08:00 UTC"
        monkeypatch.setattr(report, "provenance", lambda code, date=date: provenance(code) | {"date": date})
        folder = run.folder / f"times-{day}"
        folder.mkdir()
        values = [seconds, "-", seconds, *[1] * 6, seconds]
        (folder / "audit.tsv").write_text(BENCHMARK + "\t".join(map(str, values)) + "\n")
        histories = {}
        for model, paths in run.inputs.histories.items():
            histories[model] = [folder / f"{model}-{k}.csv" for k in range(len(paths))]
            for source, path in zip(paths, histories[model], strict=True):
                pd.read_csv(source).assign(seconds=seconds).to_csv(path, index=False)
        page = run.write_report(
            inputs=replace(run.inputs, histories=histories), run=Run("snakemake", time.time() - seconds),
            benchmarks={"audit": folder / "audit"},
        )  # fmt: skip
        assert date in page.text and f"audit 1 {duration(seconds)}" in page.text
        sources.append(page.source)
    assert sources[0] != sources[1]
    first, second = (re.sub('<section id="times">.*?</section>', "", source, flags=re.DOTALL) for source in sources)
    assert first == second


def test_all_numbers_are_in_one_table(run):
    page = run.write_report()
    table = pd.read_csv(run.folder / "numbers.csv", dtype=str).set_index(["file", "key"])["value"]
    for path in [*run.inputs.evaluations, run.inputs.ensemble]:
        row = read_json(path)
        assert float(table[path.name, "auc"]) == row["auc"]
        assert float(table[path.name, "folds.1.auc"]) == row["folds"][1]["auc"]
    assert float(table["report.json", "made.times.1.seconds"]) == 130.5
    assert table["report.json", "verdict"] in page.text


def test_submissions_to_kaggle_are_listed_with_their_scores(run):
    """Changed: submission-score.json and scores.json exist; both have the current submission."""
    digest = read_json(run.inputs.submission)["sha256"]
    row = {"reference": 7, "status": "complete", "public": 0.97531, "private": 0.9642, "oof_auc": 0.98, "error": ""}
    earlier = {"reference": 5, "time": "2026-01-01T00:00:00Z", "oof_auc": None, "sha256": None, "private": None}
    write_json(run.folder / "one.json", row | {"sent": "2026-01-02T00:00:00Z", "sha256": digest})
    listed = [row | {"time": "2026-01-02T00:00:00Z", "sha256": digest[:16]}, row | earlier]
    write_json(run.folder / "all.json", {"submissions": listed})
    text = run.write_report(sent=[run.folder / "one.json", run.folder / "all.json"]).text
    assert "7 (this submission) 2026-01-02T00:00:00Z complete 0.9753 0.9642 0.9800" in text
    assert "5 2026-01-01T00:00:00Z complete 0.9753 – –" in text
    assert text.index("7 (this submission)") < text.index("5 2026-01-01")
    assert "Submissions to Kaggle" not in run.write_report().text
