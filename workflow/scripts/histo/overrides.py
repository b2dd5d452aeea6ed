"""Settings that override other settings: of a model those of `train`, of a trial those of its search.

Not in histo/config, since jobs compute with it: what a model takes from a search is known only after the trials.
"""

import copy
import json
from pathlib import Path
from typing import Any

import yaml

from histo.errors import InputError

MOST_VALUES = 100_000  # of all settings together; config/published.yaml and the defaults have 527
REMAKE = "Delete the file and run again."


def require_bounded(where: str, settings: Any, advice: str) -> None:
    """Raise InputError for settings with more than MOST_VALUES values; where, advice: beginning and end of the message.

    Aliases of YAML can stand for any number of values in a few lines, and for a value that contains itself.
    """
    left, count = [settings], 0
    while left:
        value = left.pop()
        count += 1
        if count > MOST_VALUES:
            raise InputError(
                f"{where}: expected at most {MOST_VALUES:,} values, found more, or a value that contains itself. "
                + advice
            )
        left += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `base` overridden by `changes`; mappings are merged key by key, lists are replaced."""
    merged = copy.deepcopy(base)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def changed(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return the settings `base` of a model, overridden by `own`; another network takes none of the network options."""
    network = own.get("network")
    if isinstance(network, dict) and network.get("name", base["network"]["name"]) != base["network"]["name"]:
        base = {**base, "network": {}}
    return merge(base, own)


def by_recipe(models: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Return the names of the models, those whose settings differ in `seed` alone in one list; models: {name: all}."""
    recipes: dict[str, list[str]] = {}
    for name, settings in models.items():
        recipe = {key: value for key, value in settings.items() if key != "seed"}
        recipes.setdefault(json.dumps(recipe, sort_keys=True), []).append(name)
    return list(recipes.values())


def with_values(settings: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return `settings` with single values replaced; their names are dotted: `network.dropout`.

    A number in a name is an index into a list: `network.filters.2`. Raises InputError for an index out of range and for
    a name below a setting that holds no others.
    """
    result = copy.deepcopy(settings)
    for name, value in values.items():
        *outer, last = name.split(".")
        part: Any = result
        for depth, key in enumerate(outer):
            _holder(part, name, outer[:depth])
            part = part[_position(part, key, name)] if isinstance(part, list) else part.setdefault(key, {})
        _holder(part, name, outer)
        part[_position(part, last, name) if isinstance(part, list) else last] = copy.deepcopy(value)
    return result


def _holder(part: Any, name: str, outer: list[str]) -> None:
    if not isinstance(part, dict | list):
        raise InputError(f"{name}: no such setting; {'.'.join(outer)} is {part!r} and holds no others.")


def _position(values: list[Any], key: str, name: str) -> int:
    if not key.isdecimal() or int(key) >= len(values):
        raise InputError(f"{name}: expected an index into {values}, from 0 to {len(values) - 1}, found {key!r}.")
    return int(key)


def resolve_search(settings: dict[str, Any], bests: list[str]) -> dict[str, Any]:
    """Return all settings of a model: if it names a search, those of the best trial, overridden by its own.

    bests: paths `<search>/best.yaml`, among them that of the search. Raises InputError for a file that is damaged.
    """
    if "search" not in settings:
        return settings
    best = next(Path(path) for path in bests if Path(path).parent.name == settings["search"])
    try:
        found = yaml.safe_load(best.read_text())
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{best}: expected settings as YAML, found something else ({reason}). {REMAKE}") from None
    require_bounded(str(best), found, REMAKE)
    if not isinstance(found, dict) or not isinstance(found.get("network"), dict) or "name" not in found["network"]:
        raise InputError(f"{best}: expected all settings of a model, found something else. {REMAKE}")
    return changed(found, settings)
