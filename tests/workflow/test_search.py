"""Searching for settings: trials as jobs, their best for a model, and a page that shows all."""

import copy
import csv
import json
import math
import os
import re
import signal

import numpy as np
import pytest
import yaml

from histo.config.configuration import check, model_settings, search_settings, train_settings
from histo.errors import InputError
from histo.files import read_json, write_json
from histo.overrides import changed, complete, merge, place
from histo.training import checkpoints
from histo.training import loop as training_module
from histo.training.trial_sampling import sample
from search_best import best_of, course_chart, search_best, setting_chart
from search_trial import search_trial
from support import ROOT
from support.archives import Archive
from support.chain import snakemake
from support.html_page import Page
from support.training import CODE, make_split, settings, write_folds

DEFAULT = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
RATE = {"low": 0.0005, "high": 0.05, "whole": False, "log": True, "step": None}
WIDTH = {"low": 8, "high": 16, "whole": True, "log": False, "step": 4}
TEMPLATE = ROOT / "workflow" / "report" / "search.html.j2"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    shards, frame = make_split(folder, "train", (60, 66))
    write_folds(frame, folder / "folds.parquet")
    return folder, shards


def run_trial(made, output, trial=1, earlier=(), base=None, folds=(0,), space=None, sampler="random"):
    folder, shards = made
    how = {"sampler": sampler, "seed": 4, "folds": list(folds)}
    space = space or {"learning_rate": RATE, "network.width": WIDTH}
    search_trial(
        shards, str(folder / "folds.parquet"), list(earlier), output, trial=trial, code=CODE, threads=1,
        settings={"base": settings(epochs=2).model_dump() | (base or {}), "space": space, **how},
    )  # fmt: skip
    return read_json(output)


def config_with(search=None, **models):
    """The default configuration with a model `small`, further models, and a search of it that the test changes."""
    config = copy.deepcopy(DEFAULT)
    config["models"] |= {"small": {"network": {"name": "residual", "width": 8, "blocks": 1, "dropout": 0.1}}, **models}
    base = {
        "model": "small",
        "settings": {"epochs": 3},
        "sampler": "tpe",
        "trials": 6,
        "trials_per_batch": 3,
        "seed": 1,
    }
    space = {"learning_rate": {"low": 0.001, "high": 0.01, "log": True}}
    config["search"] = {"fine": merge(base | {"folds": [0], "space": space}, search or {})}
    return config


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def trial_result(number, score, **draws):
    seconds, failed = (7.5, None) if score is not None else (0.0, "fold 0: The loss is not finite at <epoch> 1.")
    return {"trial": number, "draws": draws, "score": score, "loss": score and 1 - score, "epochs": 5,
            "seconds": seconds, "failed": failed, "folds": []}  # fmt: skip


class TestTrial:
    def test_trains_with_what_it_drew(self, made, tmp_path):
        result = run_trial(made, tmp_path / "trial-001.json", folds=(0, 2))
        assert result["draws"] == sample(
            {"learning_rate": RATE, "network.width": WIDTH}, sampler="random", seed=4, trial=1, earlier=[]
        )
        folder, shards = made
        for row in result["folds"]:
            out = tmp_path / f"own-{row['fold']}"
            rate, width = result["draws"]["learning_rate"], result["draws"]["network.width"]
            network = {"name": "residual", "width": width, "blocks": 1, "dropout": 0.0}
            training_module.train(
                shards, folder / "folds.parquet", out / "weights.pt", out / "history.csv", out / "training.json",
                fold=row["fold"], settings=settings(epochs=2, learning_rate=rate, network=network), code=CODE,
                threads=1, resume_path=out / "resume.pt",
            )  # fmt: skip
            history = rows_of(out / "history.csv")
            best = max(history, key=lambda line: float(line["auc"]))
            assert (row["auc"], row["loss"]) == (float(best["auc"]), float(best["validation_loss"]))
            assert (row["best_epoch"], row["epochs"]) == (int(best["epoch"]), 2)
        assert result["score"] == pytest.approx(np.mean([row["auc"] for row in result["folds"]]), abs=1e-12)
        assert (result["trial"], result["epochs"], result["failed"]) == (1, 4, None)
        assert result["seconds"] == pytest.approx(sum(row["seconds"] for row in result["folds"]))
        assert result["seconds"] > 0
        assert [path.name for path in tmp_path.glob("trial*")] == ["trial-001.json"]

    def test_stops_early(self, made, tmp_path):
        """A learning rate of nearly nothing improves nothing after the first epoch or two."""
        space = {"learning_rate": {"choices": [1e-12]}}
        result = run_trial(made, tmp_path / "t.json", base={"epochs": 40, "patience": 2}, space=space)
        assert result["epochs"] < 12

    def test_that_diverges_is_a_result(self, made, tmp_path, monkeypatch):
        # The configuration does not allow a learning rate that diverges for certain.
        monkeypatch.setattr("histo.training.engine.learning_rate", lambda step, steps, settings: 1e30)
        base = {"gradient_clip": 0.0, "epochs": 4}
        result = run_trial(made, tmp_path / "t.json", base=base, space={"learning_rate": {"choices": [0.5]}})
        assert (result["score"], result["loss"], result["epochs"]) == (None, None, 0)
        assert result["failed"].startswith("fold 0: The lo") and "not finite at epoch" in result["failed"]
        assert result["draws"] == {"learning_rate": 0.5}

    def test_unusable_input_is_none(self, made, tmp_path):
        with pytest.raises(InputError, match="fold 9: expected validation tiles of both labels"):
            run_trial(made, tmp_path / "t.json", folds=(9,))
        assert not (tmp_path / "t.json").exists()

    def test_goes_on_after_it_was_killed(self, made, tmp_path, monkeypatch):
        whole = run_trial(made, tmp_path / "whole.json", base={"epochs": 3})
        steps = []
        step = training_module.Engine.train_step

        def stepping(self, images, labels):
            steps.append(self.step)
            if len(steps) == 7:
                os.kill(os.getpid(), signal.SIGTERM)
            return step(self, images, labels)

        monkeypatch.setattr(training_module.Engine, "train_step", stepping)
        with pytest.raises(SystemExit):
            run_trial(made, tmp_path / "trial-001.json", base={"epochs": 3})
        assert [path.name for path in tmp_path.glob("trial*")] == ["trial-001.fold-0.resume.pt"]
        again = run_trial(made, tmp_path / "trial-001.json", base={"epochs": 3})
        assert len(steps) == 15  # three epochs of five steps, none of them twice
        assert [path.name for path in tmp_path.glob("trial*")] == ["trial-001.json"]
        for result in (whole, again):
            result.pop("seconds"), result["folds"][0].pop("seconds")
        assert again == whole

    def test_learns_from_earlier_ones(self, made, tmp_path):
        """Of 16 results that praise the low end, tpe takes its learning rate from there."""
        paths = [tmp_path / f"{k}.json" for k in range(16)]
        for k, path in enumerate(paths):
            rate = 0.0005 * 100 ** (k / 15)
            write_json(path, trial_result(k + 1, 1 - k / 20, learning_rate=rate))
        result = run_trial(
            made, tmp_path / "t.json", trial=17, earlier=map(str, paths), sampler="tpe",
            space={"learning_rate": RATE}, base={"epochs": 1},
        )  # fmt: skip
        assert result["draws"]["learning_rate"] < 0.003


class TestSettings:
    def test_values_find_their_places(self):
        base = {"epochs": 5, "network": {"name": "n", "filters": [32, 64, 128]}}
        placed = place(base, {"network.filters.1": 80, "epochs": 9, "augment.hue": 0.1})
        assert placed == {
            "epochs": 9, "network": {"name": "n", "filters": [32, 80, 128]}, "augment": {"hue": 0.1},
        }  # fmt: skip
        assert base["network"]["filters"] == [32, 64, 128]
        with pytest.raises(InputError, match=r"expected a place in the list \[32, 64, 128\], from 0 to 2, found '3'"):
            place(base, {"network.filters.3": 80})
        with pytest.raises(InputError, match=r"epochs\.x: no such setting; epochs is 5"):
            place(base, {"epochs.x": 1})

    def test_a_model_changes_what_the_search_found(self, tmp_path):
        best = tmp_path / "fine" / "best.yaml"
        best.parent.mkdir()
        found = settings(epochs=3, learning_rate=0.02).model_dump()
        best.write_text(yaml.safe_dump(found))
        own = {"search": "fine", "epochs": 10, "network": {"dropout": 0.2}}
        made = complete(own, [str(tmp_path / "other" / "best.yaml"), str(best)])
        assert made == merge(found, own)
        assert (made["learning_rate"], made["epochs"], made["network"]["width"]) == (0.02, 10, 8)
        assert complete(settings().model_dump(), []) == settings().model_dump()

    def test_another_network_takes_no_options(self):
        assert changed(settings().model_dump(), {"network": {"name": "plain"}})["network"] == {"name": "plain"}

    def test_trials_depend_on_neither_their_number_nor_the_batch(self):
        few, many = config_with(), config_with({"trials": 60, "trials_per_batch": 10})
        for config in (few, many):
            check(config)
        assert search_settings(few, "fine") == search_settings(many, "fine")
        base = search_settings(few, "fine")["base"]
        assert base == merge(model_settings(few, "small"), {"epochs": 3})
        assert search_settings(config_with({"seed": 2}), "fine") != search_settings(few, "fine")

    def test_settings_of_a_model_with_a_search(self):
        config = config_with(tuned={"search": "fine", "learning_rate": 0.5})
        check(config)
        assert train_settings(config, "tuned") == {"search": "fine", "learning_rate": 0.5}
        assert train_settings(config, "small") == model_settings(config, "small")
        assert model_settings(config, "tuned")["epochs"] == 3

    def test_numbers_are_whole_where_the_setting_wants_them_so(self):
        space = {"network.dropout": {"low": 0, "high": 0.5, "step": 0.25}, "batch_size": {"low": 16, "high": 64}}
        config = config_with({"space": space | {"center_crop": {"choices": [32, 64]}}})
        check(config)
        assert search_settings(config, "fine")["space"] == {
            "batch_size": {"low": 16, "high": 64, "whole": True, "log": False, "step": None},
            "center_crop": {"choices": [32, 64]},
            "learning_rate": {"low": 0.001, "high": 0.01, "whole": False, "log": True, "step": None},
            "network.dropout": {"low": 0, "high": 0.5, "whole": False, "log": False, "step": 0.25},
        }

    def test_whole_numbers_may_be_written_with_a_point(self):
        space = {"batch_size": {"low": 32.0, "high": 64.0, "step": 16.0}, "ema": {"low": 0.0, "high": 0.5}}
        config = config_with({"space": space})
        check(config)
        found = search_settings(config, "fine")["space"]
        assert found["batch_size"] == {"low": 32, "high": 64, "whole": True, "log": False, "step": 16}
        assert all(isinstance(found["batch_size"][key], int) for key in ("low", "high", "step"))
        assert found["ema"]["whole"] is False
        drawn = sample(found, sampler="random", seed=1, trial=1, earlier=[])
        assert isinstance(drawn["batch_size"], int)

    def test_texts_of_the_command_line(self):
        space = {"learning_rate": {"choices": ["1e-2", "1e-3", 0.5]}, "network.dropout": {"low": "0", "high": "5e-1"}}
        config = config_with()
        config["search"]["fine"] |= {"space": space, "trials": "4", "folds": ["1"]}
        config["search"]["fine"]["space"]["checkpoint"] = {"choices": ["last", "best"]}
        check(config)
        found = config["search"]["fine"]
        assert (found["trials"], found["folds"]) == (4, [1])
        assert found["space"]["learning_rate"]["choices"] == [0.01, 0.001, 0.5]
        assert found["space"]["network.dropout"] == {"low": 0, "high": 0.5}
        assert found["space"]["checkpoint"]["choices"] == ["last", "best"]

    @pytest.mark.parametrize(
        ("search", "message"),
        [
            ({"model": "smal"}, "search.fine.model: 'smal' is none of the models. Known: "),
            ({"model": "tuned"}, "search.fine.model: 'tuned' takes its settings from a search; name another."),
            ({"trails": 3}, "search.fine.trails: no such setting; did you mean 'trials'?"),
            ({"sampler": "grid"}, "search.fine.sampler: expected 'random' or 'tpe', found 'grid'"),
            ({"folds": [5]}, "search.fine.folds: expected folds from 0 to 4, found 5."),
            ({"settings": {"search": "fine"}}, "search.fine.settings.search: no setting of a trial; leave it out."),
            ({"space": {"learnin_rate": {"low": 0, "high": 1}}}, "learnin_rate: no such setting; did you mean 'l"),
            ({"space": {"search": {"choices": ["fine"]}}}, "search.fine.space.search: no such setting"),
            ({"space": {"network.name": {"choices": ["residual"]}}}, "space.network.name: not to be searched"),
            ({"space": {"network": {"choices": [{"name": "resnet18"}]}}}, "space.network: not to be searched"),
            ({"space": {"network.hidden": {"low": 8, "high": 64}}}, "space.network: residual has the options width"),
            ({"space": {"batch_size": {"low": 32.0, "high": 64.5}}}, "batch_size: expected a whole number from 2"),
            (
                {"space": {"augment.mixup": {"low": 0, "high": 0.6}, "augment.cutmix": {"low": 0, "high": 0.6}}},
                "space: augment.mixup 0.6 with augment.cutmix 0.6: augment.mixup and augment.cutmix are shares",
            ),
            (
                {
                    "settings": {"ema": 0.9},
                    "space": {"checkpoint": {"choices": ["last", "ema"]}, "ema": {"choices": [0, 0.99]}},
                },
                "space: checkpoint ema with ema 0: checkpoint: ema needs ema above 0",
            ),
            ({"space": {"learning_rate": {"high": 2}}}, "rate: expected a number above 0 to 1, found 2."),
            ({"space": {"learning_rate": {"low": 0.5}}}, "learning_rate: expected low below high, found 0.5 and 0.01."),
            ({"space": {"learning_rate": {"step": 0.001}}}, "space.learning_rate: log and step exclude each other."),
            ({"space": {"learning_rate": {"choices": [1]}}}, "rate: choices and low, high, log exclude each other."),
            ({"space": {"epochs": {"low": 1}}}, "epochs: high missing; write {low: …, high: …} or {"),
            ({"space": {"center_crop": {"low": 32, "high": 96}}}, "space.center_crop: expected 32 or 64 or 96, found 33."),
            ({"space": {"checkpoint": {"choices": ["last", "lst"]}}}, "space.checkpoint: expected 'last' or 'best' or 'ema'"),
            ({"space": {"checkpoint": {"choices": ["last", "ema"]}}}, "search.fine.space.checkpoint: ema needs ema above 0"),
            ({"space": {"ema": {"low": 0, "high": 0.9, "log": True}}}, "space.ema: log needs low above 0, found 0."),
            ({"space": {"ema": {"low": 0, "high": 0.9, "step": 0.2}}}, "ema: expected a whole number of steps of 0.2"),
            ({"space": {"ema": {"low": 0.1, "high": math.inf}}}, "space.ema: expected finite numbers."),
            ({"space": {"ema.a.b": {"choices": [1]}}}, "space.ema.a.b: no such setting; ema is 0.0 and"),
        ],
    )  # fmt: skip
    def test_mistakes_are_found_before_anything_runs(self, search, message):
        config = config_with(search, tuned={"search": "fine"})
        with pytest.raises(InputError) as error:
            check(config)
        lines = str(error.value).splitlines()[1:]
        assert len(lines) == 1, lines
        assert message in lines[0]

    def test_searches_of_models_must_exist(self):
        config = config_with(tuned={"search": "fin"})
        config["train"]["search"] = "fine"
        with pytest.raises(InputError) as error:
            check(config)
        assert str(error.value).splitlines()[1:] == [
            "  train.search: only a model takes the settings of a search; write it under models.",
            "  models.tuned.search: 'fin' is none of the searches. Known: fine.",
        ]


SPACE = {"learning_rate": RATE, "network.width": WIDTH, "sizes": {"choices": [[8, 16], [16, 32]]}}
TRIALS = [
    trial_result(1, 0.8, **{"learning_rate": 0.001, "network.width": 8, "sizes": [8, 16]}),
    trial_result(2, None, **{"learning_rate": 0.05, "network.width": 12, "sizes": [16, 32]}),
    trial_result(3, 0.9, **{"learning_rate": 0.01, "network.width": 16, "sizes": [8, 16]}),
    trial_result(4, 0.9, **{"learning_rate": 0.02, "network.width": 12, "sizes": [16, 32]}),
]


class TestBest:
    def collect(self, folder, trials):
        paths = [folder / f"trial-{trial['trial']:03d}.json" for trial in trials]
        for path, trial in zip(paths, trials, strict=True):
            write_json(path, trial)
        outputs = [folder / name for name in ("best.yaml", "trials.csv", "trials.html")]
        search_best(
            list(map(str, paths)), *outputs, template=TEMPLATE, layout=TEMPLATE.with_name("page.html.j2"),
            search="fine", dataset={"name": "made & more", "source": "synthetic"}, code={"search_best": CODE},
            settings={"base": settings().model_dump(), "space": SPACE, "sampler": "random", "seed": 4, "folds": [0, 1]},
        )  # fmt: skip
        return outputs

    def test_settings_of_the_first_of_the_best(self, tmp_path):
        best, table, _ = self.collect(tmp_path, TRIALS)
        assert yaml.safe_load(best.read_text()) == place(settings().model_dump(), TRIALS[2]["draws"])
        assert best.read_text().startswith("# Settings of trial 3 of the search fine, validation AUC 0.9000.\n")
        rows = rows_of(table)
        assert [row["trial"] for row in rows] == ["1", "2", "3", "4"]
        assert [row["score"] for row in rows] == ["0.8", "", "0.9", "0.9"]
        assert [row["learning_rate"] for row in rows] == ["0.001", "0.05", "0.01", "0.02"]
        assert json.loads(rows[3]["sizes"]) == [16, 32]
        assert rows[1]["failed"] == "fold 0: The loss is not finite at <epoch> 1."

    def test_more_trials_without_a_better_one_change_no_setting(self, tmp_path):
        best, *_ = self.collect(tmp_path, TRIALS[:3])
        before = best.read_bytes()
        self.collect(tmp_path, TRIALS)
        assert best.read_bytes() == before

    def test_the_page_shows_every_trial(self, tmp_path):
        *_, path = self.collect(tmp_path, TRIALS)
        source = path.read_text()
        Page(path).check_whole()
        assert "made &amp; more" in source and "not finite at &lt;epoch&gt; 1" in source
        assert source.count('<figure class="chart">') == 4
        rows = re.findall(r"<tr[^>]*><th scope=\"row\" class=\"number\">(\d+)</th>", source)
        assert rows == ["3", "4", "1", "2"]
        assert "Failed trials, whose training diverged: 2." in source
        assert "8 · " not in source and "8-16 · 16-32" in source and "0.0005 to 0.05, logarithmic" in source

    def test_all_failed(self):
        with pytest.raises(InputError, match="All 1 trials failed, the first one so: fold 0: The loss"):
            best_of([TRIALS[1]])

    def test_the_line_holds_the_best_so_far(self):
        trials = [trial_result(k + 1, score) for k, score in enumerate((None, 0.7, 0.6, 0.9, 0.8))]
        chart = course_chart(trials, trials[3])
        points = re.search(r'<polyline[^>]*points="([^"]*)"', chart)[1].split()
        heights = [float(point.split(",")[1]) for point in points]
        assert len(points) == 4 and heights[0] == heights[1] > heights[2] == heights[3]
        assert chart.count("<path") == 1 + 1  # one failed trial, and the legend
        assert "Best: trial 4 with 0.9000; 1 of 5 failed." in chart

    def test_places_on_the_axes(self):
        chart = setting_chart("learning_rate", RATE, TRIALS, TRIALS[2])
        dots = [float(x) for x in re.findall(r'<circle class="fill-0" cx="([\d.]+)"', chart)][1:]  # legend first
        assert dots[1] - dots[0] == pytest.approx((dots[2] - dots[1]) * np.log(10) / np.log(2), abs=0.5)
        width = setting_chart("network.width", WIDTH, TRIALS, TRIALS[2])
        assert [t for t in re.findall(r">([^<>]+)</text>", width) if t in ("8", "12", "16")] == ["8", "12", "16"]


def jobs(output):
    """Number of jobs by rule that a run announces."""
    table = output.partition("Job stats:")[2].partition("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, flags=re.MULTILINE)}


def test_no_search_to_run(tmp_path):
    done = snakemake(tmp_path, "search", "dataset={name: none}")
    assert done.returncode != 0
    assert "The configuration has no section `search`" in done.stderr


@pytest.mark.slow
def test_trials_are_jobs_and_a_model_takes_the_best(tmp_path):
    Archive(np.random.default_rng(5), train=40, test=10).write(tmp_path / "archive.zip")

    def run(target, trials, *more, sampler="random"):
        space = "{learning_rate: {low: 1e-3, high: 1e-2, log: true}, network.width: {choices: [8, 16]}}"
        how = f"sampler: {sampler}, trials: {trials}, trials_per_batch: 2, seed: 1, folds: [0]"
        return snakemake(
            tmp_path, target, f"dataset={{name: made, source: archive, archive: {tmp_path / 'archive.zip'}}}",
            f"search={{fine: {{model: tiny, {how}, space: {space}}}}}",
            "models={tuned: {search: fine, epochs: 2, batch_size: 4}}", *more,
        )  # fmt: skip

    done = run("search", 2)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "results/made/search/fine"
    first = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.glob("trial-*.json"))}
    assert [path.name for path in first] == ["trial-001.json", "trial-002.json"]
    assert not list(folder.glob("*.pt"))

    done = run("search", 3)
    assert done.returncode == 0, done.stderr
    assert jobs(done.stderr + done.stdout) == {"search": 1, "search_trial": 1, "search_best": 1}
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in first} == first
    trials = [read_json(path) for path in sorted(folder.glob("trial-*.json"))]
    assert len({trial["draws"]["learning_rate"] for trial in trials}) == 3
    assert len(rows_of(folder / "trials.csv")) == 3

    done = run("submission", 3, "submission={models: [tuned]}")
    assert done.returncode == 0, done.stderr
    assert not jobs(done.stderr + done.stdout).keys() & {"search_trial", "search_best"}
    best = max(trials, key=lambda trial: trial["score"])
    for fold in range(2):
        used = checkpoints.load(tmp_path / f"results/made/train/tuned/fold-{fold}/weights.pt")["settings"]
        assert used["learning_rate"] == best["draws"]["learning_rate"]
        assert used["network"] == {"name": used["network"]["name"], "width": best["draws"]["network.width"]} | {
            key: used["network"][key] for key in used["network"] if key not in ("name", "width")
        }
        assert (used["epochs"], used["batch_size"], used["center_crop"]) == (2, 4, 32)
    report = (tmp_path / "results/made/report.html").read_text()
    assert "tuned: a search chose the settings by validation AUC" in report
    assert str(best["draws"]["learning_rate"]) in report

    done = run("search", 5, "--dry-run", sampler="tpe")
    assert jobs(done.stderr + done.stdout) == {"search": 1, "search_trial": 5, "search_best": 1}
