"""Settings: every mistake named, with what is allowed and the nearest setting that exists."""

import copy

import pytest
import yaml

from histo.config.checks import SCHEMA, check, merge, model_settings
from histo.errors import InputError
from support import ROOT

DEFAULT = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


def changed(path, value):
    config = copy.deepcopy(DEFAULT)
    part = config
    *outer, last = path.split(".")
    for key in outer:
        part = part.setdefault(key, {})
    if value is None:
        del part[last]
    else:
        part[last] = value
    return config


@pytest.mark.parametrize("file", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.name)
def test_the_files_that_come_with_the_workflow_are_right(file):
    check(merge(DEFAULT, yaml.safe_load(file.read_text())))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("fold", {}, "fold: no such setting; did you mean 'folds'?"),
        ("folds.cuont", 5, "folds.cuont: no such setting; did you mean 'count'? Known here: count, seed, slides."),
        ("models.residual.epoch", 5, "models.residual.epoch: no such setting; did you mean 'epochs'?"),
        ("folds.count", 1, "folds.count: expected a whole number from 2 to 100, found 1. Number of folds."),
        ("folds.count", "five", "folds.count: expected a whole number from 2 to 100, found 'five'"),
        ("train.center_crop", 50, "train.center_crop: expected 32 or 64 or 96, found 50"),
        ("train.learning_rate", 0, "train.learning_rate: expected a number above 0 to 1, found 0"),
        ("audit.on_fault", "ignore", "audit.on_fault: expected 'fail' or 'leave_out', found 'ignore'"),
        ("dataset.name", "a/b", "dataset.name: expected text of the form"),
        ("submission.models", [], "submission.models: expected a list with at least 1 entries, found []"),
        ("submission.models", ["p4m", "a", "p4m"], "submission.models: expected each once, found 'p4m' 2 times."),
        ("submission.method", "median", "expected 'mean' or 'rank_mean' or 'weights', found 'median'"),
        ("predict.average", "logit", "predict.average: expected 'logits' or 'probabilities', found 'logit'"),
        (
            "submission.models",
            ["forest"],
            "'forest' is none of the models. Known: p4m, logistic_regression, random_forest.",
        ),
        (
            "classical.p4m",
            {"method": "logistic_regression", "l2": 1},
            "classical.p4m: a model of `models` has this",
        ),
        (
            "classical.random_forest.n_estimators",
            None,
            "classical.random_forest.n_estimators: missing; method: random_forest needs it",
        ),
        ("classical.random_forest.l2", 1, "l2: no setting of method: random_forest; leave it out"),
        (
            "classical.random_forest.method",
            "forest",
            "expected 'logistic_regression' or 'random_forest', found 'forest'",
        ),
        ("stain.method", "vahadane", "stain.method: expected 'none' or 'macenko', found 'vahadane'"),
        ("folds.count", None, "folds.count: missing; expected a whole number from 2 to 100"),
        ("dataset.source", "archive", "dataset.archive: missing; source: archive needs the path of the zip"),
        ("dataset.source", "synthetic", "synthesize: missing; source: synthetic needs it"),
        (
            "folds.slides",
            "none.csv",
            "folds.slides: expected a CSV table with the columns id,slide, found no such file: none.csv",
        ),
        ("models", {2024: {}}, "models: expected text of the form ^[A-Za-z0-9][A-Za-z0-9_.-]*$, found 2024"),
        ("train.network.name", "resnet43", "found 'resnet43'; did you mean resnet34 or"),
        (
            "train.network.name",
            "vit_h_14",
            "network.name: vit_h_14 cannot be built for tiles of 96 pixels: its patches",
        ),
        ("train.network.weights", "imagenet", "network.weights: only a network of torchvision starts from a file"),
        (
            "train.network",
            {"name": "resnet18", "weights": "imagenet"},
            "normalisation: weights of ImageNet expect its normalisation; set normalisation: imagenet.",
        ),
        (
            "train.network",
            {"name": "resnet18", "weights": "none.pth"},
            "network.weights: expected none, imagenet or the path of a file, found no such file: none.pth",
        ),
        ("train.network", {"name": "center32_3conv"}, "the network center32_3conv sees the central 32 × 32 pixels"),
        ("train.network.convolutions", 3, "train.network.convolutions: expected 1 or 2, found 3"),
        (
            "train.network.name",
            "residual",
            "network: residual has the options width, blocks, dropout, found hidden. Leave out what it does not have;",
        ),
        ("train.network.name", "resnet34", "network: resnet34 has no options, found width, blocks, hidden, dropout."),
        ("models.p4m.network", {"name": "residual", "width": 16}, "network: residual needs blocks, dropout too;"),
        ("models.p4m.network", {"width": 20}, "network.width: p4m_residual needs a multiple of 8, found 20."),
        ("models.residual.checkpoint", "ema", "checkpoint: ema needs ema above 0"),
        ("models.residual.augment", {"mixup": 0.6, "cutmix": 0.6}, "at most 1"),
    ],
)
def test_every_mistake_is_explained(path, value, message):
    with pytest.raises(InputError) as error:
        check(changed(path, value))
    head, *lines = str(error.value).splitlines()
    assert head == "The settings have mistakes:"
    assert len(lines) == 1
    assert message in lines[0]


def test_all_mistakes_are_told_at_once():
    config = changed("folds.count", 1)
    config["train"]["center_crop"] = 7
    with pytest.raises(InputError) as error:
        check(config)
    assert len(str(error.value).splitlines()) == 3


def test_texts_of_the_command_line_become_what_the_schema_wants():
    config = changed("folds", {"count": "3", "seed": "7", "slides": "null"})
    config["validate"] |= {"id_is_sha1": "false"}
    config["models"]["residual"] = {"center_crop": "64", "learning_rate": "1e-2", "compile": "true"}
    config["dataset"]["name"] = "123"
    check(config)
    assert config["folds"] == {"count": 3, "seed": 7, "slides": None}
    assert config["validate"]["id_is_sha1"] is False
    assert config["models"]["residual"] == {"center_crop": 64, "learning_rate": 0.01, "compile": True}
    assert config["dataset"]["name"] == "123"


@pytest.mark.parametrize("written", [8.0, "8.0", "8e0"])
def test_a_whole_number_may_be_written_as_a_fraction(written):
    config = changed("models.residual", {"batch_size": written})
    config["train"]["learning_rate"] = 1.0
    check(config)
    assert repr(config["models"]["residual"]["batch_size"]) == "8"
    assert repr(config["train"]["learning_rate"]) == "1.0"


def test_the_home_folder_in_a_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "tiles.zip").touch()
    (tmp_path / "slides.csv").touch()
    config = changed("dataset", {"name": "mine", "source": "archive", "archive": "~/tiles.zip", "folder": None})
    config["folds"]["slides"] = "~/slides.csv"
    check(config)
    assert config["dataset"]["archive"] == str(tmp_path / "tiles.zip")
    assert config["folds"]["slides"] == str(tmp_path / "slides.csv")


def test_the_home_folder_in_the_path_of_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "w.pth").touch()
    config = changed("models.resnet", {"network": {"name": "resnet18", "weights": "~/w.pth"}})
    check(config)
    assert config["models"]["resnet"]["network"]["weights"] == str(tmp_path / "w.pth")


def test_settings_of_a_model_change_those_of_train():
    config = changed("models.residual", {"epochs": 3, "augment": {"hue": 0.5}})
    settings = model_settings(config, "residual")
    assert settings["epochs"] == 3
    assert settings["augment"] == DEFAULT["train"]["augment"] | {"hue": 0.5}
    assert config["train"] == DEFAULT["train"]


def test_every_setting_has_a_description():
    def walk(schema, where):
        for key, part in schema.get("properties", {}).items():
            assert "description" in part, f"{where}.{key}"
            walk(part, f"{where}.{key}")

    schema = yaml.safe_load(SCHEMA.read_text())
    walk(schema, "")
    walk(schema["$defs"]["model"], "model")


def test_every_setting_of_train_has_a_default():
    schema = yaml.safe_load(SCHEMA.read_text())["$defs"]["model"]["properties"]
    assert schema.keys() == DEFAULT["train"].keys() | {"search"}  # which only models have
    assert schema["augment"]["properties"].keys() == DEFAULT["train"]["augment"].keys()
