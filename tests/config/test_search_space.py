"""Searches in the settings: the space is checked before anything runs."""

import copy
import math

import pytest
import yaml

from histo.config.configuration import check, model_settings, search_settings, train_settings
from histo.errors import InputError
from histo.overrides import merge
from histo.training.trial_sampling import sample
from support import ROOT

DEFAULT = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


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


def test_trials_depend_on_neither_their_number_nor_the_batch():
    few, many = config_with(), config_with({"trials": 60, "trials_per_batch": 10})
    for config in (few, many):
        check(config)
    assert search_settings(few, "fine") == search_settings(many, "fine")
    base = search_settings(few, "fine")["base"]
    assert base == merge(model_settings(few, "small"), {"epochs": 3, "learning_rate": 0.001})
    assert search_settings(config_with({"seed": 2}), "fine") != search_settings(few, "fine")


def test_trials_do_not_depend_on_what_a_model_says_of_a_setting_that_they_sample():
    one, other = config_with(), config_with()
    other["models"]["small"]["learning_rate"] = 0.5
    for config in (one, other):
        check(config)
    assert repr(search_settings(one, "fine")) == repr(search_settings(other, "fine"))


def test_settings_of_a_model_with_a_search():
    config = config_with(tuned={"search": "fine", "learning_rate": 0.5})
    check(config)
    assert train_settings(config, "tuned") == {"search": "fine", "learning_rate": 0.5}
    assert train_settings(config, "small") == model_settings(config, "small")
    assert model_settings(config, "tuned")["epochs"] == 3


def test_numbers_are_whole_where_the_setting_wants_them_so():
    space = {"network.dropout": {"low": 0, "high": 0.5, "step": 0.25}, "batch_size": {"low": 16, "high": 64}}
    config = config_with({"space": space | {"center_crop": {"choices": [32, 64]}}})
    check(config)
    assert search_settings(config, "fine")["space"] == {
        "batch_size": {"low": 16, "high": 64, "whole": True, "log": False, "step": None},
        "center_crop": {"choices": [32, 64]},
        "learning_rate": {"low": 0.001, "high": 0.01, "whole": False, "log": True, "step": None},
        "network.dropout": {"low": 0, "high": 0.5, "whole": False, "log": False, "step": 0.25},
    }


def test_whole_numbers_may_be_written_with_a_point():
    space = {"batch_size": {"low": 32.0, "high": 64.0, "step": 16.0}, "ema": {"low": 0.0, "high": 0.5}}
    config = config_with({"space": space})
    check(config)
    found = search_settings(config, "fine")["space"]
    assert found["batch_size"] == {"low": 32, "high": 64, "whole": True, "log": False, "step": 16}
    assert all(isinstance(found["batch_size"][key], int) for key in ("low", "high", "step"))
    assert found["ema"]["whole"] is False
    drawn = sample(found, sampler="random", seed=1, trial=1, earlier=[])
    assert isinstance(drawn["batch_size"], int)


def test_texts_of_the_command_line():
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
        ({"settings": {"search": "fine"}}, "search.fine.settings.search: no setting of a trial; remove it."),
        ({"space": {"learnin_rate": {"low": 0, "high": 1}}}, "learnin_rate: no such setting; did you mean 'l"),
        ({"space": {"search": {"choices": ["fine"]}}}, "search.fine.space.search: no such setting"),
        ({"space": {"network.name": {"choices": ["residual"]}}}, "space.network.name: cannot be searched"),
        ({"space": {"network": {"choices": [{"name": "resnet18"}]}}}, "space.network: cannot be searched"),
        ({"space": {"network.hidden": {"low": 8, "high": 64}}}, "space.network.hidden: no such setting; Known here: n"),
        ({"space": {"batch_size": {"low": 32.0, "high": 64.5}}}, "batch_size: expected a whole number from 2"),
        (
            {"space": {"augment.mixup": {"low": 0, "high": 0.6}, "augment.cutmix": {"low": 0, "high": 0.6}}},
            "space: augment.mixup 0.6 with augment.cutmix 0.6: augment: augment.mixup and augment.cutmix are shares",
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
        (
            {"space": {"center_crop": {"low": 32, "high": 96}}},
            "space.center_crop: expected a whole number from 32 to 512, a multiple of 32, found 33.",
        ),
        ({"space": {"checkpoint": {"choices": ["last", "lst"]}}}, "space.checkpoint: expected 'last' or"),
        ({"space": {"checkpoint": {"choices": ["last", "ema"]}}}, "checkpoint: checkpoint: ema needs ema above 0"),
        ({"space": {"ema": {"low": 0, "high": 0.9, "log": True}}}, "space.ema: log needs low above 0, found 0"),
        ({"space": {"ema": {"low": 0, "high": 0.9, "step": 0.2}}}, "ema: expected a whole number of steps of 0.2"),
        ({"space": {"ema": {"low": 0.1, "high": math.inf}}}, "space.ema.high: expected a number or null, found inf."),
        ({"space": {"ema.a.b": {"choices": [1]}}}, "space.ema.a.b: no such setting; ema is 0.0 and"),
    ],
)  # fmt: skip
def test_mistakes_are_found_before_anything_runs(search, message):
    config = config_with(search, tuned={"search": "fine"})
    with pytest.raises(InputError) as error:
        check(config)
    lines = str(error.value).splitlines()[1:]
    assert len(lines) == 1, lines
    assert message in lines[0]


def test_train_takes_no_search():
    config = config_with()
    config["train"]["search"] = "fine"
    with pytest.raises(InputError, match=r"train\.search: no such setting"):
        check(config)


def test_searches_of_models_must_exist():
    config = config_with(tuned={"search": "fin"})
    with pytest.raises(InputError) as error:
        check(config)
    assert str(error.value).splitlines()[1:] == [
        "  models.tuned.search: 'fin' is none of the searches. Known: fine.",
    ]
