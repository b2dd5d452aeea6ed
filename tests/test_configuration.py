"""Settings: every mistake named, with what is allowed and the nearest setting that exists."""

import copy
from pathlib import Path

import pytest
import yaml

from histo.configuration import SCHEMA, check, merge, model_settings
from histo.errors import InputError

ROOT = Path(__file__).resolve().parent.parent
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
        ("train.crop", 50, "train.crop: expected 32 or 64 or 96, found 50"),
        ("train.learning_rate", 0, "train.learning_rate: expected a number above 0 to 1, found 0"),
        ("validate.on_fault", "ignore", "validate.on_fault: expected 'fail' or 'leave_out', found 'ignore'"),
        ("dataset.name", "a/b", "dataset.name: expected text of the form"),
        ("submission.models", [], "submission.models: expected a list with at least 1 entries, found []"),
        ("submission.models", ["residul"], "'residul' is none of the models. Known: residual."),
        ("folds.count", None, "folds.count: missing; expected a whole number from 2 to 100"),
        ("dataset.source", "archive", "dataset.archive: missing; source: archive needs the path of the zip"),
        ("dataset.source", "synthetic", "synthesize: missing; source: synthetic needs it"),
        (
            "folds.slides",
            "none.csv",
            "folds.slides: expected a CSV table with the columns id,slide, found no such file: none.csv",
        ),
        ("models", {2024: {}}, "models: expected text of the form ^[A-Za-z0-9][A-Za-z0-9_.-]*$, found 2024"),
        ("models.residual.keep", "ema", "keep: ema needs ema above 0"),
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
    config["train"]["crop"] = 7
    with pytest.raises(InputError) as error:
        check(config)
    assert len(str(error.value).splitlines()) == 3


def test_texts_of_the_command_line_become_what_the_schema_wants():
    config = changed("folds", {"count": "3", "seed": "7", "slides": "null"})
    config["validate"] |= {"id_is_sha1": "false", "on_fault": "fail"}
    config["models"]["residual"] = {"crop": "64", "learning_rate": "1e-2", "compile": "true"}
    config["dataset"]["name"] = "123"
    check(config)
    assert config["folds"] == {"count": 3, "seed": 7, "slides": None}
    assert config["validate"]["id_is_sha1"] is False
    assert config["models"]["residual"] == {"crop": 64, "learning_rate": 0.01, "compile": True}
    assert config["dataset"]["name"] == "123"


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
    assert schema.keys() == DEFAULT["train"].keys()
    assert schema["augment"]["properties"].keys() == DEFAULT["train"]["augment"].keys()
