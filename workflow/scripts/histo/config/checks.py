"""Checking settings: every error names the setting, what is allowed, and the nearest setting that exists."""

import difflib
import os
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from histo.config import network_options
from histo.config.search_space import joint_faults, read_choices, resolved_space, space_faults
from histo.errors import InputError
from histo.networks import names
from histo.overrides import changed, merge

__all__ = ["check", "merge", "model_settings", "search_settings", "train_settings"]

CLASSICAL = {
    "logistic_regression": {"l2"},
    "random_forest": {"n_estimators", "min_samples_leaf", "seed"},
}  # settings by method

PATHS = (("dataset", "archive"), ("dataset", "folder"), ("folds", "slides"))  # in which ~ is the home folder

SCHEMA = Path(__file__).resolve().parents[3] / "schemas" / "config.schema.yaml"


def check(config: dict[str, Any]) -> None:
    """Compare settings with the schema and with each other; InputError with one line per mistake.

    Texts in `config` that stand for numbers, true, false or null become these: Snakemake reads whatever is nested in
    `--config section='{key: 1}'` as text. A whole number that is written 32.0 becomes 32, and ~ in
    paths the home folder.
    """
    schema = yaml.safe_load(SCHEMA.read_text())
    validator = jsonschema.Draft202012Validator(schema)
    _read_values(config, schema, schema["$defs"])
    for section, key in PATHS:
        if isinstance(config.get(section), dict) and isinstance(path := config[section].get(key), str):
            config[section][key] = os.path.expanduser(path)
    _weights_from_home(config)
    errors = sorted(validator.iter_errors(config), key=lambda error: [str(part) for part in error.absolute_path])
    # One missing setting is one error, whose text names all that are missing beside it.
    lines = list(dict.fromkeys(line for error in errors for line in _explain(error)))
    if not lines:
        lines = list(_contradictions(config))
    if lines:
        raise InputError("\n".join(["The settings have mistakes:", *(f"  {line}" for line in lines)]))


def _weights_from_home(value: dict[str, Any]) -> None:
    """Put the home folder in place of ~ in every `network: {weights: path}`, in place."""
    for key, inner in value.items():
        if isinstance(inner, dict):
            if key == "network" and isinstance(path := inner.get("weights"), str):
                inner["weights"] = os.path.expanduser(path)
            _weights_from_home(inner)


def _read_values(value: Any, schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
    """Return `value` as its schema wants it where it is a text that the schema forbids, or a whole number written as a
    fraction; mappings change in place."""
    schema = definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if isinstance(value, dict):
        known, other = schema.get("properties", {}), schema.get("additionalProperties")
        for key, inner in value.items():
            part = known.get(key, other if isinstance(other, dict) else None)
            if part is not None:
                value[key] = _read_values(inner, part, definitions)
    elif isinstance(value, list) and "items" in schema:
        value[:] = [_read_values(inner, schema["items"], definitions) for inner in value]
    elif isinstance(value, str):
        try:
            read = yaml.safe_load(value)
        except yaml.YAMLError:
            return value
        if "enum" in schema:
            return read if read in schema["enum"] and value not in schema["enum"] else value
        kinds = schema.get("type", "string")
        if read is None and "null" in kinds:
            return None
        if "string" not in kinds:
            return _whole(_number(value) if isinstance(read, str) else read, schema)
    return _whole(value, schema)


def _number(text: str) -> float | str:
    """Return the number that a text such as 1e-3 stands for, which YAML takes for text; else the text."""
    try:
        return float(text)
    except ValueError:
        return text


def _whole(value: Any, schema: dict[str, Any]) -> Any:
    """Return 32 for 32.0 where a whole number is wanted: the schema takes both for one, Python does not."""
    kinds = schema.get("type", ())
    wanted = "integer" in ([kinds] if isinstance(kinds, str) else kinds)
    return int(value) if wanted and isinstance(value, float) and value.is_integer() else value


def _explain(error: jsonschema.ValidationError) -> list[str]:
    where = ".".join(str(part) for part in error.absolute_path)
    schema = error.schema
    if error.validator == "additionalProperties":
        known = list(schema["properties"])
        lines = []
        for key in error.instance:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                name = f"{where}.{key}" if where else str(key)
                lines.append(f"{name}: no such setting; {hint}Known here: {', '.join(known)}.")
        return lines
    if error.validator == "required":
        missing = [key for key in schema["required"] if key not in error.instance]
        return [f"{f'{where}.{key}' if where else key}: missing; {_meaning(schema, key)}" for key in missing]
    if error.validator == "uniqueItems":
        counts = {repr(value): error.instance.count(value) for value in error.instance}
        return [f"{where}: expected each once, found {name} {n} times." for name, n in counts.items() if n > 1]
    return [f"{where or 'the configuration'}: expected {_allowed(schema)}, found {error.instance!r}{_sense(schema)}"]


def _meaning(schema: dict[str, Any], key: str) -> str:
    part = schema.get("properties", {}).get(key)
    return f"expected {_allowed(part)}{_sense(part)}" if part else "config/config.yaml shows it."


def _sense(schema: dict[str, Any]) -> str:
    return f". {schema['description']}." if "description" in schema else "."


def _allowed(schema: dict[str, Any]) -> str:
    """Say in words which values a schema allows."""
    if "enum" in schema:
        return " or ".join(repr(value) for value in schema["enum"])
    kinds = schema.get("type", "a name")
    words = {"integer": "a whole number", "number": "a number", "string": "text", "boolean": "true or false"}
    words |= {"object": "a mapping", "array": "a list", "null": "null"}
    text = " or ".join(words.get(kind, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds))
    bounds = (("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to"), ("exclusiveMaximum", "below"))
    text += "".join(f" {word} {schema[key]}" for key, word in bounds if key in schema)
    text += f" of the form {schema['pattern']}" if "pattern" in schema else ""
    text += (
        f" with at least {schema.get('minItems', schema.get('minProperties'))} entries"
        if ("minItems" in schema or "minProperties" in schema)
        else ""
    )
    return text


def _contradictions(config: dict[str, Any]) -> list[str]:
    """Return what no schema can say: settings that only make sense together."""
    lines = []
    dataset = config["dataset"]
    if dataset["source"] == "archive":
        if not dataset.get("archive"):
            lines.append("dataset.archive: missing; source: archive needs the path of the zip.")
        elif not Path(dataset["archive"]).is_file():
            lines.append(f"dataset.archive: expected the path of a zip, found no such file: {dataset['archive']}")
    if dataset["source"] == "folder":
        lines += _folder_faults(dataset.get("folder"))
    if dataset["source"] == "synthetic" and "synthesize" not in config:
        lines.append("synthesize: missing; source: synthetic needs it. config/demo.yaml shows an example.")
    slides = config["folds"]["slides"]
    made = dataset["source"] == "synthetic" and slides == f"resources/{dataset['name']}/slides.csv"
    if slides and not made and not Path(slides).is_file():
        lines.append(f"folds.slides: expected a CSV table with the columns id,slide, found no such file: {slides}")
    for name in config["submission"]["models"]:
        if name not in config["models"] and name not in config.get("classical", {}):
            known = ", ".join([*config["models"], *config.get("classical", {})])
            lines.append(f"submission.models: {name!r} is none of the models. Known: {known}.")
    lines += _classical_faults(config)
    strayed = _search_references(config)
    if strayed:
        return lines + strayed
    for name in config["models"]:
        lines += [f"models.{name}: {line}" for line in _model_contradictions(model_settings(config, name))]
    for name in config.get("search", {}):
        lines += [f"search.{name}.{line}" for line in _search_faults(config, name)]
    return lines


def _classical_faults(config: dict[str, Any]) -> list[str]:
    """Return names that are models already, and settings that a method lacks or does not have."""
    lines = []
    for name, settings in config.get("classical", {}).items():
        if name in config["models"]:
            lines.append(f"classical.{name}: a model of `models` has this name; give it another.")
        wanted = CLASSICAL[settings["method"]]
        for key in wanted - settings.keys():
            lines.append(f"classical.{name}.{key}: missing; method: {settings['method']} needs it.")
        for key in settings.keys() - wanted - {"method"}:
            lines.append(f"classical.{name}.{key}: no setting of method: {settings['method']}; leave it out.")
    return sorted(lines)


def _model_contradictions(settings: dict[str, Any]) -> list[str]:
    """Return what no schema can say of complete settings of a model."""
    lines = []
    if settings["augment"]["mixup"] + settings["augment"]["cutmix"] > 1:
        lines.append("augment.mixup and augment.cutmix are shares of the same tiles: at most 1.")
    if settings["checkpoint"] == "ema" and settings["ema"] == 0:
        lines.append("checkpoint: ema needs ema above 0, such as 0.999.")
    return lines + _network_faults(settings)


def _network_faults(settings: dict[str, Any]) -> list[str]:
    """Return what is wrong with the network's name, with the weights that it starts from and with its options."""
    name, weights = settings["network"]["name"], settings["network"].get("weights")
    if wrong := network_options.name_fault(name):
        return [wrong]
    if name == "center32_3conv" and settings["center_crop"] != 32:
        return ["center_crop: the network center32_3conv sees the central 32 × 32 pixels; set center_crop: 32."]
    if weights is not None and name not in names.TORCHVISION:
        return [f"network.weights: only a network of torchvision starts from a file, {name} does not; leave it out."]
    if weights == "imagenet" and settings["normalisation"] != "imagenet":
        return ["normalisation: weights of ImageNet expect its normalisation; set normalisation: imagenet."]
    if weights not in (None, "none", "imagenet") and not Path(weights).is_file():
        return [f"network.weights: expected none, imagenet or the path of a file, found no such file: {weights}"]
    return [wrong] if (wrong := network_options.fault(settings["network"])) else []


def _model_faults(settings: dict[str, Any]) -> list[str]:
    """Return all that is wrong with complete settings of a model, each line with the setting's name in front."""
    errors = _model_validator().iter_errors(settings)
    return [line for error in errors for line in _explain(error)] or _model_contradictions(settings)


@cache
def _model_validator() -> jsonschema.Draft202012Validator:
    """Return what compares complete settings of a model, in which no search is named any more, with the schema."""
    schema = yaml.safe_load(SCHEMA.read_text())
    model = {**schema["$defs"]["model"], "$defs": schema["$defs"]}
    model["properties"] = {key: part for key, part in model["properties"].items() if key != "search"}
    return jsonschema.Draft202012Validator(model)


def _search_references(config: dict[str, Any]) -> list[str]:
    """Return names of searches, and of models of searches, that lead nowhere or in a circle."""
    searches, lines = config.get("search", {}), []
    if "search" in config["train"]:
        lines.append("train.search: only a model takes the settings of a search; write it under models.")
    for name, own in config["models"].items():
        if "search" in own and own["search"] not in searches:
            known = f"Known: {', '.join(searches)}." if searches else "The section `search` is missing."
            lines.append(f"models.{name}.search: {own['search']!r} is none of the searches. {known}")
    for name, search in searches.items():
        if search["model"] not in config["models"]:
            known = ", ".join(config["models"])
            lines.append(f"search.{name}.model: {search['model']!r} is none of the models. Known: {known}.")
        elif "search" in config["models"][search["model"]]:
            lines.append(f"search.{name}.model: {search['model']!r} takes its settings from a search; name another.")
        if "search" in search.get("settings", {}):
            lines.append(f"search.{name}.settings.search: no setting of a trial; leave it out.")
    return lines


def _search_faults(config: dict[str, Any], name: str) -> list[str]:
    """Return what is wrong with a search; texts among its choices that stand for numbers become these."""
    search, base = config["search"][name], _search_base(config, name)
    lines = [
        f"folds: expected folds from 0 to {config['folds']['count'] - 1}, found {fold!r}."
        for fold in search["folds"]
        if fold >= config["folds"]["count"]
    ]
    wrong = [f"settings.{line}" for line in _model_faults(base)]
    if wrong:
        return lines + wrong
    read_choices(search, base, _model_faults)
    lines += space_faults(search, base, _model_faults)
    # What no schema can say is cheap to ask of every two settings of a sound space.
    return lines or joint_faults(search, base, _model_contradictions)


def _folder_faults(folder: str | None) -> list[str]:
    """Return why `dataset.folder` is no extracted archive."""
    if not folder:
        return ["dataset.folder: missing; source: folder needs the path of an extracted archive."]
    if not Path(folder).is_dir():
        found = "a file; for a zip write source: archive" if Path(folder).is_file() else "nothing there"
        return [f"dataset.folder: expected the path of a folder, found {found}: {folder}"]
    missing = [name for name in ("train_labels.csv", "sample_submission.csv") if not (Path(folder) / name).is_file()]
    if missing:
        wanted = "train/, test/, train_labels.csv and sample_submission.csv"
        return [f"dataset.folder: expected {wanted} in {folder}, found no {' and no '.join(missing)}."]
    return []


def model_settings(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the settings of one model: those of `train`, changed by its own.

    A model that names another network takes none of the options of that of `train`. A model that names a search starts
    from what the search's trials start from; what is best for it is known only once the trials are done.
    """
    own = config["models"][name]
    return changed(_search_base(config, own["search"]) if "search" in own else config["train"], own)


def train_settings(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what the rule train knows of a model beforehand, to be made whole by `histo.overrides.complete`.

    All its settings, or, if it names a search, only its own.
    """
    own = config["models"][name]
    return own if "search" in own else model_settings(config, name)


def search_settings(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what the trials of a search depend on: base, space, sampler, seed, folds.

    Not how many there are, nor how many are drawn at once.
    """
    search, base = config["search"][name], _search_base(config, name)
    return {
        "base": base,
        "space": resolved_space(search, base, _model_faults),
        **{key: search[key] for key in ("sampler", "seed", "folds")},
    }


def _search_base(config: dict[str, Any], name: str) -> dict[str, Any]:
    """Complete settings that the trials of a search start from."""
    search = config["search"][name]
    return changed(model_settings(config, search["model"]), search.get("settings", {}))
