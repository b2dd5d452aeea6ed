"""Checking settings: every error names the setting, what is allowed, and the nearest setting that exists."""

import copy
import difflib
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from histo.errors import InputError

SCHEMA = Path(__file__).resolve().parent.parent.parent / "schemas" / "config.schema.yaml"


def check(config: dict[str, Any]) -> None:
    """Compare settings with the schema and with each other; InputError with one line per mistake.

    Texts in `config` that stand for numbers, true, false or null become these: Snakemake reads whatever is nested in
    `--config section='{key: 1}'` as text.
    """
    schema = yaml.safe_load(SCHEMA.read_text())
    validator = jsonschema.Draft202012Validator(schema)
    _read_texts(config, schema, schema["$defs"])
    errors = sorted(validator.iter_errors(config), key=lambda error: [str(part) for part in error.absolute_path])
    # One missing setting is one error, whose text names all that are missing beside it.
    lines = list(dict.fromkeys(line for error in errors for line in _explain(error)))
    if not lines:
        lines = list(_contradictions(config))
    if lines:
        raise InputError("\n".join(["The settings have mistakes:", *(f"  {line}" for line in lines)]))


def _read_texts(value: Any, schema: dict[str, Any], definitions: dict[str, Any]) -> Any:
    """Return `value` as its schema wants it where it is a text that the schema forbids; mappings change in place."""
    schema = definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    if isinstance(value, dict):
        known, other = schema.get("properties", {}), schema.get("additionalProperties")
        for key, inner in value.items():
            part = known.get(key, other if isinstance(other, dict) else None)
            if part is not None:
                value[key] = _read_texts(inner, part, definitions)
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
            return _number(value) if isinstance(read, str) else read
    return value


def _number(text: str) -> float | str:
    """Return the number that a text such as 1e-3 stands for, which YAML takes for text; else the text."""
    try:
        return float(text)
    except ValueError:
        return text


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
        if name not in config["models"]:
            known = ", ".join(config["models"])
            lines.append(f"submission.models: {name!r} is none of the models. Known: {known}.")
    for name in config["models"]:
        settings = model_settings(config, name)
        if settings["augment"]["mixup"] + settings["augment"]["cutmix"] > 1:
            lines.append(f"models.{name}: augment.mixup and augment.cutmix are shares of the same tiles: at most 1.")
        if settings["keep"] == "ema" and settings["ema"] == 0:
            lines.append(f"models.{name}: keep: ema needs ema above 0, such as 0.999.")
    return lines


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

    A model that names another network takes none of the options of that of `train`.
    """
    own, base = config["models"][name], config["train"]
    if own.get("network", {}).get("name", base["network"]["name"]) != base["network"]["name"]:
        base = {**base, "network": {}}
    return merge(base, own)


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with the values of `changes` in their places, mappings merged key by key."""
    merged = copy.deepcopy(base)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged
