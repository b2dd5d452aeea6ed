"""The best settings of a search, and the table and the page of its trials."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import yaml

from histo.errors import InputError
from histo.files import read_json
from histo.overrides import with_values
from histo.training.best_trial import best_of
from search_page import curves_chart, history_chart, range_text, setting_chart
from support.html_page import HOSTILE, Page
from support.html_page import parse_fragment as parse
from support.search import RATE, TRIALS, WIDTH, collect, trial_result
from support.training import settings


def test_the_first_of_the_best_trials_gives_the_settings(tmp_path):
    best, *_ = collect(tmp_path, TRIALS)
    assert yaml.safe_load(best.read_text()) == with_values(settings().model_dump(), TRIALS[2]["draws"])
    assert best.read_text().startswith("# Settings of trial 3 of the search fine, validation AUC 0.9000.\n")


def test_the_table_has_a_row_per_trial(tmp_path):
    _, path, *_ = collect(tmp_path, TRIALS)
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert table["trial"].tolist() == ["1", "2", "3", "4"]
    assert table["score"].tolist() == ["0.8", "", "0.9", "0.9"]
    assert table["learning_rate"].tolist() == ["0.001", "0.05", "0.01", "0.02"]
    assert json.loads(table["sizes"][3]) == [16, 32]
    assert table["failed"][1] == "fold 0: The loss is not finite at <epoch> 1."


def test_more_trials_without_a_better_one_do_not_change_the_best_settings(tmp_path):
    best, *_ = collect(tmp_path, TRIALS[:3])
    before = best.read_bytes()
    collect(tmp_path, TRIALS)
    assert best.read_bytes() == before


def test_the_page_shows_every_trial(tmp_path):
    *_, path, _ = collect(tmp_path, TRIALS, name=HOSTILE)
    page = Page(path)
    page.check_self_contained()
    page.check_accessible()
    assert HOSTILE in page.text and "not finite at <epoch> 1" in page.text
    assert page.source.count('<figure class="chart"') == 5
    assert "Numbers: trials.csv , trials.json , best.yaml ." in page.text
    assert "Too few trials with different scores for the importance of the settings." in page.text
    assert re.findall(r"<tr[^>]*><th scope=\"row\" class=\"number\">(\d+)</th>", page.source) == ["3", "4", "1", "2"]
    assert "Failed trials, in which training diverged: 2." in page.text
    assert "The best score is the highest of many trials on folds 0, 1, so it is optimistically biased." in page.text
    assert "8-16 · 16-32" in page.text and "0.0005 to 0.05, logarithmic" in page.text


def test_the_page_states_patience_and_the_monitored_metric(tmp_path):
    *_, path, _ = collect(tmp_path, TRIALS, patience=3, monitor="loss")
    assert "residual, patience 3 (loss)" in Page(path).text


def test_a_search_in_which_all_trials_failed_is_an_error():
    with pytest.raises(
        InputError, match=r"All 1 trials of the search failed\. Error of the first one: fold 0: The loss"
    ):
        best_of([TRIALS[1]])


def test_the_line_is_the_best_score_so_far():
    trials = [trial_result(k + 1, score) for k, score in enumerate((None, 0.7, 0.6, 0.9, 0.8))]
    chart = history_chart(trials, trials[3])
    points = re.search(r'<polyline[^>]*points="([^"]*)"', chart)[1].split()
    heights = [float(point.split(",")[1]) for point in points]
    assert len(points) == 4 and heights[0] == heights[1] > heights[2] == heights[3]
    assert chart.count("<path") == 1 + 1  # one failed trial, and the legend
    assert "Best: trial 4 with 0.9000; 1 of 5 failed." in chart


def test_curves_are_means_over_the_folds_and_the_best_is_drawn_last():
    chart = parse(curves_chart(TRIALS, TRIALS[2]))
    series = chart.findall(".//g[@class='series']")
    assert [one.get("data-name") for one in series] == ["trial 1", "trial 4", "trial 3"]
    assert [json.loads(one.get("data-points")) for one in series] == [
        [[1, 0.7], [2, 0.8]], [[1, 0.8], [2, 0.9]], [[1, 0.8], [2, 0.9]],
    ]  # fmt: skip
    assert [one.find("polyline").get("class") for one in series] == ["line stroke-0", "line stroke-0", "line stroke-2"]
    assert "3 trials; the best, 3, ends at 0.9000." in chart.find(".//svg[@role='img']").get("aria-label")


def test_the_importance_of_the_settings_is_shown_and_written(tmp_path):
    rates = [0.0005 * 1.4**k for k in range(12)]
    trials = [
        trial_result(
            k + 1, 0.6 + 0.02 * k, **{"learning_rate": rate, "network.width": 8 + 4 * (k % 3), "sizes": [8, 16]}
        )
        for k, rate in enumerate(rates)
    ]
    *_, page, summary = collect(tmp_path, trials)
    found = read_json(summary)
    shares = found["importances"]
    assert next(iter(shares)) == "learning_rate" and shares["learning_rate"] > 0.6
    assert sum(shares.values()) == pytest.approx(1)
    assert (found["best"], found["trials"]) == (12, trials)
    text = Page(page).text
    assert f"setting share bar learning_rate {100 * shares['learning_rate']:.1f} %" in text
    assert "from 12 trials." in text


def test_a_logarithmic_range_has_a_logarithmic_axis():
    chart = setting_chart("learning_rate", RATE, TRIALS, TRIALS[2])
    dots = [float(x) for x in re.findall(r'<circle class="fill-0" cx="([\d.]+)"', chart)][1:]  # legend first
    assert dots[1] - dots[0] == pytest.approx((dots[2] - dots[1]) * np.log(10) / np.log(2), abs=0.5)


def test_a_range_with_few_steps_has_a_categorical_axis():
    chart = setting_chart("network.width", WIDTH, TRIALS, TRIALS[2])
    assert [t for t in re.findall(r">([^<>]+)</text>", chart) if t in ("8", "12", "16")] == ["8", "12", "16"]


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (RATE, "0.0005 to 0.05, logarithmic"),
        (WIDTH, "8 to 16, steps of 4"),
        ({"choices": [True, None, [8, 16], 0.00012346]}, "on · none · 8-16 · 0.0001235"),
    ],
)
def test_ranges_as_text(part, text):
    assert range_text(part) == text
