"""Settings of a model: how they are changed, and how a model takes those that a search found best.

Apart from histo/config/checks.py, which checks them, because a job must not run again when a check is edited.
"""

import copy
from pathlib import Path
from typing import Any

import yaml

from histo.errors import InputError


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with the values of `changes` in their places, mappings merged key by key."""
    merged = copy.deepcopy(base)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def changed(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return the settings `base` of a model, changed by `own`; another network takes none of the options."""
    if own.get("network", {}).get("name", base["network"]["name"]) != base["network"]["name"]:
        base = {**base, "network": {}}
    return merge(base, own)


def place(settings: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """Return `settings` with single values in their places, which dotted names say: `network.dropout`.

    A number in a name is a place in a list, counted from 0: `network.filters.2`. InputError where there is none.
    """
    placed = copy.deepcopy(settings)
    for name, value in values.items():
        *outer, last = name.split(".")
        part: Any = placed
        for depth, key in enumerate(outer):
            _holder(part, name, outer[:depth])
            part = part[_position(part, key, name)] if isinstance(part, list) else part.setdefault(key, {})
        _holder(part, name, outer)
        part[_position(part, last, name) if isinstance(part, list) else last] = copy.deepcopy(value)
    return placed


def _holder(part: Any, name: str, outer: list[str]) -> None:
    if not isinstance(part, dict | list):
        raise InputError(f"{name}: no such setting; {'.'.join(outer)} is {part!r} and holds no others.")


def _position(values: list[Any], key: str, name: str) -> int:
    if not key.isdecimal() or int(key) >= len(values):
        raise InputError(f"{name}: expected a place in the list {values}, from 0 to {len(values) - 1}, found {key!r}.")
    return int(key)


def complete(settings: dict[str, Any], bests: list[str]) -> dict[str, Any]:
    """Return complete settings of a model, where it names a search those of its best trial, changed by its own.

    bests: paths `<search>/best.yaml`, among them that of the search.
    """
    if "search" not in settings:
        return settings
    best = next(Path(path) for path in bests if Path(path).parent.name == settings["search"])
    return changed(yaml.safe_load(best.read_text()), settings)
