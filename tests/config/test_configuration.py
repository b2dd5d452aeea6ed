"""Settings: every mistake named, with what is allowed and the nearest setting that exists."""

import copy
import json
import math
import re
import time

import jsonschema
import pytest
import yaml

from histo.config import __main__ as generated
from histo.config import configuration
from histo.config.configuration import LITE0, Configuration, check, model_settings, train_settings
from histo.config.section import Section
from histo.errors import InputError
from histo.overrides import merge
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


SAME = {
    "integer for a real number": {"train": {"ema": 0, "gradient_clip": 1}},
    "real number for an integer": {"train": {"epochs": 20.0}},
    "text of the command line": {"train": {"ema": "0", "epochs": "20", "compile": "false"}},
    "defaults said": {"models": {"p4m": {"augment": {"mixup": 0.0}, "patience": 0}}, "predict": {"average": "logits"}},
    "options of another network in another order": {"models": {"other": {"network": {"dropout": 0, "blocks": 2}}}},
    "case of an MD5": {"download": {"md5": "ABCDEF0123456789ABCDEF0123456789"}},
}


@pytest.mark.parametrize("change", SAME.values(), ids=SAME)
def test_settings_that_say_the_same_are_equal_as_text(change):
    """Snakemake compares parameters as text, so that 0 for 0.0 would train again."""
    base = merge(DEFAULT, {
        "models": {"other": {"network": {"name": "residual", "blocks": 2}}},
        "download": {"md5": "abcdef0123456789abcdef0123456789"},
    })  # fmt: skip
    texts = []
    for config in (base, merge(base, change)):
        check(config)
        sections = {name: section for name, section in config.items() if name != "models"}
        texts.append(repr([sections, {name: train_settings(config, name) for name in ("p4m", "other")}]))
    assert texts[0] == texts[1]


def leaves(kind, before=()):
    """Yield (dotted path, field) of all settings of a section."""
    for name, field in kind.model_fields.items():
        path = (*before, field.alias or name)
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Section):
            yield from leaves(inner, path)
        else:
            yield ".".join(path), field


NUMBERS = [path for path, field in leaves(Configuration) if "float" in str(field.annotation)]


def test_no_number_is_nan_or_infinite():
    """All settings that are numbers, by every way in which a file or a command line can say so."""
    assert {"train.learning_rate", "train.augment.zoom", "train.pos_weight", "train.ema"} <= set(NUMBERS)
    for path in NUMBERS:
        for value in (math.nan, math.inf, -math.inf, ".nan", "nan", "1e999", "-.inf"):
            with pytest.raises(InputError, match=path.rpartition(".")[2]):
                check(changed(path, value))


@pytest.mark.parametrize("name", ["train_shards", "test_shards"])
def test_numbers_of_shards_have_five_digits(name):
    check(changed(f"index.{name}", 100_000))
    with pytest.raises(InputError, match=f"index.{name}: expected a whole number from 1 to 100000, found 100001"):
        check(changed(f"index.{name}", 100_001))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("fold", {}, "fold: no such setting; did you mean 'folds'?"),
        (
            "folds.cuont",
            5,
            "folds.cuont: no such setting; did you mean 'count'? Known here: count, by, also_by_stain, seed, fraction, "
            "slides.",
        ),
        ("models.residual.epoch", 5, "models.residual.epoch: no such setting; did you mean 'epochs'?"),
        ("folds.count", 1, "folds.count: expected a whole number from 2 to 100, found 1. Number of folds."),
        ("folds.count", "five", "folds.count: expected a whole number from 2 to 100, found 'five'"),
        ("folds.count", True, "folds.count: expected a whole number from 2 to 100, found True"),
        ("folds.count", 2.5, "folds.count: expected a whole number from 2 to 100, found 2.5"),
        ("folds", "five", "folds: expected a mapping, found 'five'"),
        (
            "train.center_crop",
            50,
            "train.center_crop: expected a whole number from 32 to 512, a multiple of 32, found 50",
        ),
        ("train.compile", 1, "train.compile: expected true or false, found 1"),
        ("train.learning_rate", 0, "train.learning_rate: expected a number above 0 to 1, found 0"),
        ("train.learning_rate", float("nan"), "train.learning_rate: expected a number above 0 to 1, found nan"),
        ("train.augment.zoom", float("inf"), "train.augment.zoom: expected a number from 0 to 0.5, found inf"),
        ("train.pos_weight", 0, "train.pos_weight: expected a number above 0 to 100 or null, found 0"),
        ("audit.on_fault", "ignore", "audit.on_fault: expected 'fail' or 'leave_out', found 'ignore'"),
        ("audit.leave_out", ["blak"], "audit.leave_out.0: expected 'blank' or 'black' or 'blurred', found 'blak'"),
        ("dataset.name", "a/b", "dataset.name: expected text of the form"),
        ("dataset.name", "a\n", "dataset.name: expected text of the form"),
        (
            "dataset.source",
            "kagle",
            "dataset.source: expected 'kaggle' or 'archive' or 'folder' or 'pcam' or 'synthetic'",
        ),
        ("submission.models", [], "submission.models: expected a list with at least 1 entries, found []"),
        ("submission.models", ["p4m", "a", "p4m"], "submission.models: expected each once, found 'p4m' 2 times."),
        ("submission.method", "median", "expected 'mean' or 'rank_mean' or 'weights', found 'median'"),
        ("predict.average", "logit", "predict.average: expected 'logits' or 'probabilities', found 'logit'"),
        (
            "submission.models",
            ["forest"],
            "'forest' is none of the models. Known: lite0, p4m, logistic_regression, random_forest.",
        ),
        ("classical.p4m", {"method": "logistic_regression"}, "classical.p4m: a model of `models` has this name"),
        ("classical.random_forest.l2", 1, "classical.random_forest.l2: no such setting; Known here: method, n_est"),
        (
            "classical.random_forest.method",
            "forest",
            "expected 'logistic_regression' or 'random_forest' or 'estimator', found 'forest'",
        ),
        (
            "classical.boosting",
            {"method": "estimator", "estimator": "os.system"},
            "classical.boosting.estimator: expected text of the form",
        ),
        ("stain.method", "vahadane", "stain.method: expected 'none' or 'macenko', found 'vahadane'"),
        (
            "apply",
            {"model": "random_forest", "tiles": "config", "out": "a.csv"},
            "apply.model: expected one of lite0, p4m, found 'random_forest'. Classical models cannot be applied.",
        ),
        (
            "apply",
            {"model": "p4m", "tiles": "none.zip/test", "out": "a.csv"},
            "apply.tiles: expected a folder, a zip archive or shards, found nothing there: none.zip/test",
        ),
        ("apply", {"model": "p4m", "out": "a.csv"}, "apply.tiles: missing"),
        (
            "apply",
            {"model": "p4m", "tiles": "config", "out": "a.csv", "microns_per_pixel": 0.972},
            "apply.stride: expected a number of pixels, as with apply.microns_per_pixel, found none; set 32",
        ),
        ("dataset.name", None, "dataset.name: missing; expected text of the form"),
        ("dataset.source", "archive", "dataset.archive: missing; expected text"),
        (
            "dataset",
            {"name": "mine", "source": "archive", "archive": "config"},
            "dataset.archive: expected the path of a zip, found a folder; for its files write source: folder: config",
        ),
        ("dataset.source", "synthetic", "synthesize: missing; source: synthetic needs it"),
        (
            "folds.slides",
            "none.csv",
            "folds.slides: expected a CSV table with the columns id,slide, found no such file",
        ),
        (
            "folds.slides",
            str(ROOT / "docs" / "report.webp"),
            f"folds.slides: {ROOT / 'docs' / 'report.webp'}: expected UTF-8 text, found other bytes",
        ),
        ("folds.slides", str(ROOT / "LICENSE"), "expected the columns id, slide, found "),
        (
            "dataset",
            {"name": "mine", "source": "kaggle", "archive": "a.zip"},
            "dataset.archive: expected with source: archive, found source: kaggle. Set dataset.source: archive.",
        ),
        (
            "dataset",
            {"name": "mine", "source": "archive", "archive": "LICENSE", "folder": "docs"},
            "dataset.folder: expected with source: folder, found source: archive. Set dataset.source: folder.",
        ),
        ("models", {2024: {}}, "models: expected names of the form ^[A-Za-z0-9][A-Za-z0-9_.-]*$, found 2024"),
        ("train.network.name", "resnet43", "train.network.name: expected 'p4m_residual' or 'residual'"),
        ("train.network.name", "resnet43", "found 'resnet43'; did you mean resnet34 or"),
        ("train.network", {"name": "vit_h_14"}, "network.name: vit_h_14 cannot be built for tiles of 96 pixels: its"),
        (
            "train.network.weights",
            "imagenet",
            "train.network.weights: no such setting; Known here: name, width, blocks",
        ),
        (
            "train.network",
            {"name": "resnet18", "weights": "imagenet"},
            "normalisation: ImageNet weights expect ImageNet's; set normalisation: imagenet.",
        ),
        (
            "models.p4m.network",
            {"name": "resnet18", "weights": "none.pth"},
            "models.p4m.network.weights: expected none, imagenet or the path of a file, found no such file: none.pth",
        ),
        ("train.network", {"name": "center32_3conv"}, "the network center32_3conv sees the central 32 × 32 pixels"),
        (
            "train.network",
            {"name": "batchnorm_gap", "convolutions": 3},
            "train.network.convolutions: expected 1 or 2, found 3",
        ),
        (
            "train.network",
            {"name": "residual", "hidden": 8},
            "train.network.hidden: no such setting; Known here: name, width, blocks, d",
        ),
        ("models.p4m.network", {"width": 20}, "from 8 to 256, a multiple of 8, found 20."),
        ("models.residual.checkpoint", "ema", "models.residual: checkpoint: ema needs ema above 0"),
        ("models.residual.augment", {"mixup": 0.6, "cutmix": 0.6}, "at most 1 together"),
    ],
)
def test_every_mistake_is_explained(path, value, message):
    with pytest.raises(InputError) as error:
        check(changed(path, value))
    head, *lines = str(error.value).splitlines()
    assert head == "The settings have mistakes:"
    assert len(lines) == 1
    assert message in lines[0]


def test_umap_needs_a_package_of_its_own(monkeypatch):
    config = changed("feature_map.method", "umap")
    check(config)
    assert config["feature_map"] == {"method": "umap"}
    monkeypatch.setattr(configuration, "find_spec", lambda name: None)
    check(changed("feature_map.method", "pca"))
    with pytest.raises(
        InputError, match=r"feature_map\.method: expected the package umap-learn, found none\. Install it"
    ):
        check(config)


def test_all_mistakes_are_told_at_once():
    config = changed("folds.count", 1)
    config["train"]["center_crop"] = 7
    with pytest.raises(InputError) as error:
        check(config)
    assert [line.partition(":")[0].strip() for line in str(error.value).splitlines()[1:]] == [
        "folds.count",
        "train.center_crop",
    ]


def test_texts_of_the_command_line_become_what_the_schema_wants():
    config = changed("folds", {"count": "3", "seed": "7", "slides": "null"})
    config["validate"] |= {"id_is_sha1": "false"}
    config["models"]["residual"] = {"center_crop": "64", "learning_rate": "1e-2", "compile": "true"}
    config["dataset"]["name"] = "123"
    check(config)
    assert config["folds"] == {
        "by": "groups", "also_by_stain": False, "count": 3, "seed": 7, "fraction": 1.0, "slides": None,
    }  # fmt: skip
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
    (tmp_path / "slides.csv").write_text("id,slide\n")
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


def test_the_same_settings_written_differently_are_equal():
    """What a rule compares must not depend on how a setting is written."""
    written = copy.deepcopy(DEFAULT)
    written["train"] |= {"ema": 0, "weight_decay": "5e-2", "epochs": 20.0}
    written["train"] = dict(reversed(written["train"].items()))
    written["dataset"] |= {"archive": None, "folder": None}
    reference = copy.deepcopy(DEFAULT)
    check(written)
    check(reference)
    assert repr(written) == repr(reference)


def test_config_yaml_states_the_defaults():
    stated = copy.deepcopy(DEFAULT)
    check(stated)
    stated["classical"] = {}  # the baselines of config.yaml are examples
    default = {"dataset": DEFAULT["dataset"]}
    check(default)
    assert stated == default


def test_config_yaml_states_every_setting():
    complete = copy.deepcopy(DEFAULT)
    check(complete)
    optional = {"synthesize", "search", "apply"}

    def missing(settings, stated, where=""):
        for key, value in settings.items():
            if key not in stated:
                yield f"{where}{key}"
            elif isinstance(value, dict):
                yield from missing(value, stated[key], f"{where}{key}.")

    assert set(missing(complete, DEFAULT)) == optional


def test_every_setting_has_a_description():
    def walk(schema, where):
        for key, part in schema.get("properties", {}).items():
            assert part.get("description"), f"{where}.{key}"

    schema = Configuration.model_json_schema()
    for name, part in [("configuration", schema), *schema["$defs"].items()]:
        walk(part, name)


def test_generated_files_are_up_to_date():
    """`PYTHONPATH=workflow/scripts python -m histo.config` writes both."""
    assert json.loads(generated.SCHEMA.read_text()) == generated.schema()
    readme = generated.README.read_text()
    assert generated.BLOCK.findall(readme) == [generated.tables()]


@pytest.mark.parametrize("file", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.name)
def test_editors_accept_the_files_that_come_with_the_workflow(file):
    jsonschema.Draft202012Validator(generated.schema()).validate(yaml.safe_load(file.read_text()))


def test_editors_see_a_mistake():
    errors = jsonschema.Draft202012Validator(generated.schema()).iter_errors({"models": {"a": {"epoch": 3}}})
    assert [list(error.absolute_path) for error in errors] == [["models", "a"]]


PLACES = [
    ("dataset",),
    ("dataset", "source"),
    ("dataset", "name"),
    ("folds", "slides"),
    ("train",),
    ("train", "network"),
    ("train", "network", "name"),
    ("models",),
    ("models", "p4m"),
    ("models", "p4m", "network"),
    ("models", "p4m", "search"),
    ("search",),
    ("search", "fine"),
    ("search", "fine", "settings"),
    ("search", "fine", "space"),
    ("search", "fine", "space", "epochs"),
    ("submission", "models"),
]
STRANGE = [
    0,
    float("nan"),
    "",
    "\n",
    "1" * 500,
    [],
    [None],
    ["a", {}],
    {},
    {1: 2},
    {"name": [1]},
    {"network": "resnet18"},
]


@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_values_of_any_kind_end_in_a_message(place):
    """Whatever stands in the place of a setting: it is taken, or refused with an InputError."""
    config = copy.deepcopy(DEFAULT)
    config["search"] = {
        "fine": {
            "model": "p4m", "settings": {"epochs": 3}, "sampler": "tpe", "trials": 6, "trials_per_batch": 3, "seed": 1,
            "folds": [0], "space": {"epochs": {"choices": [1, 2]}},
        }
    }  # fmt: skip
    refused = 0
    for value in STRANGE:
        changed = copy.deepcopy(config)
        part = changed
        for key in place[:-1]:
            part = part[key]
        part[place[-1]] = value
        try:
            check(changed)
        except InputError as error:
            refused += 1
            assert len(str(error).splitlines()) > 1
    assert refused >= len(STRANGE) // 2


@pytest.mark.parametrize(
    ("dataset", "crop", "message"),
    [
        ({"tile_side": 64}, 96, r"models\.p4m\.center_crop: expected 32 to 64, .* found 96"),
        ({"tile_side": 128, "centre_side": 64}, 32, r"models\.p4m\.center_crop: expected 64 to 128, .* found 32"),
        ({"tile_side": 64, "centre_side": 96}, 64, r"dataset\.centre_side: expected at most .* 64, found 96"),
        ({"tile_side": 100}, 96, r"dataset\.tile_side: expected a whole number from 32 to 512, a multiple of 32"),
        (
            {"source": "pcam", "tile_side": 64},
            64,
            "dataset: PatchCamelyon has tile_side 96, centre_side 32 and classes 2",
        ),
        ({"source": "pcam", "classes": 3}, 96, "dataset: PatchCamelyon has tile_side 96, centre_side 32 and classes 2"),
        ({"source": "synthetic", "centre_side": 16}, 96, r"dataset\.centre_side: with source: synthetic, .* found 16"),
    ],
)
def test_sides_that_contradict_each_other_are_refused(dataset, crop, message):
    with pytest.raises(InputError, match=message):
        check(merge(DEFAULT, {"dataset": dataset, "train": {"center_crop": crop}}))


def test_other_sides_are_taken():
    config = merge(DEFAULT, {"dataset": {"tile_side": 224, "centre_side": 224}, "train": {"center_crop": 224}})
    check(config)
    assert model_settings(config, "p4m")["center_crop"] == 224


def test_pseudo_labels_and_more_than_two_classes_exclude_each_other():
    config = merge(DEFAULT, {"dataset": {"classes": 3}, "models": {"student": {"pseudo_labels": ["p4m"]}}})
    with pytest.raises(InputError, match=r"models\.student\.pseudo_labels: expected \[\] with more than two classes"):
        check(config)


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (
            {"more": {"warm_start": "nobody"}},
            "models.more.warm_start: 'nobody' is none of the networks. Known: lite0, ",
        ),
        ({"more": {"warm_start": "more"}}, "expected no circle, found more → more. "),
        (
            {"more": {"warm_start": "p4m"}, "p4m": {"warm_start": "more"}},
            "models.more.warm_start: expected no circle, found more → p4m → more. ",
        ),
        ({"more": {"warm_start": "p4m", "network": {"width": 16}}}, "expected the network of p4m, {'name': 'p4m_resid"),
        (
            {"more": {"warm_start": "lite0", **LITE0}},
            "models.more: warm_start: its weights replace those of network.weights; set network.weights: none.",
        ),
        ({"more": {"warm_start": "p4m", "search": "rate"}}, "expected two models without `search`, found one with it"),
        ({"p4m": {"warm_start": "base"}, "base": {}}, "search.rate.settings.warm_start: expected null, since trials "),
    ],
)
def test_a_warm_start_from_what_cannot_be_started_from_is_refused(models, message):
    search = {"model": "p4m", "sampler": "random", "trials": 2, "trials_per_batch": 2, "seed": 1, "folds": [0]}
    space = {"learning_rate": {"choices": [0.001, 0.002]}}
    with pytest.raises(InputError, match=re.escape(message)):
        check(merge(DEFAULT, {"models": models, "search": {"rate": search | {"space": space}}}))


def test_a_search_tries_no_warm_starts():
    search = {"model": "p4m", "sampler": "random", "trials": 2, "trials_per_batch": 2, "seed": 1, "folds": [0]}
    with pytest.raises(InputError, match=r"search\.rate\.space\.warm_start: cannot be searched"):
        check(merge(DEFAULT, {"search": {"rate": search | {"space": {"warm_start": {"choices": ["lite0"]}}}}}))


def test_a_search_tries_no_functions_from_files():
    search = {"model": "p4m", "sampler": "random", "trials": 2, "trials_per_batch": 2, "seed": 1, "folds": [0]}
    space = {"optimizer": {"choices": ["adamw", "my.py:make"]}}
    with pytest.raises(InputError, match=r"search\.rate\.space\.optimizer: functions from a file cannot be searched"):
        check(merge(DEFAULT, {"search": {"rate": search | {"space": space}}}))
    check(merge(DEFAULT, {"search": {"rate": search | {"space": {"optimizer": {"choices": ["adamw", "adam"]}}}}}))


def test_a_warm_start_from_the_same_network_is_taken():
    lite0 = {"name": "efficientnet_lite0", "dropout": 0.4}
    lite = {"warm_start": "lite0", "network": lite0}
    models = {"more": {"warm_start": "p4m"}, "most": {"warm_start": "more"}, "lite": lite}
    config = merge(DEFAULT, {"models": models})
    check(config)
    assert [model_settings(config, name)["warm_start"] for name in ("p4m", "more", "most", "lite")] == [
        None, "p4m", "more", "lite0",
    ]  # fmt: skip


def test_pos_weight_is_for_two_classes():
    changes = {"dataset": {"classes": 3}, "models": {"p4m": {"pos_weight": None}}}
    with pytest.raises(InputError, match=r"models\.p4m\.pos_weight: expected 1 with more than two classes, found None"):
        check(merge(DEFAULT, changes))
    check(merge(DEFAULT, {"dataset": {"classes": 3}}))


def bomb():
    """Nine lists of nine of the next, 387 million values, as aliases of YAML make them."""
    value = ["x"]
    for _ in range(9):
        value = [value] * 9
    return value


def loop():
    """A list that contains itself."""
    value = []
    value.append(value)
    return value


@pytest.mark.parametrize("made", [bomb, loop])
@pytest.mark.parametrize(
    "place", [lambda v: {"models": {"p4m": {"augment": v}}}, lambda v: {"audit": {"leave_out": v}}, lambda v: {"x": v}]
)
def test_settings_without_end_are_refused_at_once(made, place):
    config = {"dataset": {"name": "small", "source": "kaggle"}} | place(made())
    begin = time.process_time()
    with pytest.raises(InputError, match="The settings: expected at most 100,000 values, found more"):
        check(config)
    assert time.process_time() - begin < 20
