"""The space of a search: whether all it can sample are settings of a model, found before the search starts."""

from itertools import combinations, product
from typing import Any

from pydantic import ValidationError

from histo.config.mistakes import explain
from histo.config.search import Range, Search
from histo.config.train import TrainSettings
from histo.errors import InputError
from histo.overrides import with_values

Settings = dict[str, Any]

# May name functions in a file of the user's, as in `histo.user_functions.own_functions`.
FUNCTIONS = ("augmentation", "loss", "network.builder", "optimizer")


def typed(settings: Settings, where: str) -> tuple[Settings | None, list[str]]:
    """Return all settings of a model with their types, or None, and what is wrong with them; where: a dotted name."""
    settings = {key: value for key, value in settings.items() if key != "search"}
    try:
        return TrainSettings.model_validate(settings).model_dump(), []
    except ValidationError as error:
        return None, explain(error, TrainSettings, where)


def check(search: Search, base: Settings) -> tuple[dict[str, Settings], list[str]]:
    """Return the space with typed choices, and what is wrong with it.

    base: settings that the trials change. Each setting is tried by itself: every choice, or the ends of a range and a
    value between; then every two settings together, for what they must not contradict in each other.
    """
    space, lines = {}, []
    for name, part in search.space.items():
        values, mistakes = _try(base, name, part)
        lines += mistakes
        space[name] = {"choices": values} if part.choices is not None else part.model_dump()
    if not lines:
        lines = _pairs(search, base)
    return space, lines


def resolve(search: Search, base: Settings) -> dict[str, Settings]:
    """Return the space as histo.training.trial_sampling reads it, sorted by name.

    Numbers of a range are whole where the setting takes no others.
    """
    space: dict[str, Settings] = {}
    for name, part in sorted(search.space.items()):
        if part.choices is not None:
            space[name] = {"choices": part.choices}
            continue
        low, high = part.ends
        step = part.step
        whole = part.ends_are_whole and _one(base, name, low + 0.5)[0] is None
        numbers = {"low": low, "high": high, "step": step}
        if whole:
            numbers = {key: None if value is None else int(value) for key, value in numbers.items()}
        space[name] = numbers | {"whole": whole, "log": part.log}
    return space


def _try(base: Settings, name: str, part: Range) -> tuple[list[Any], list[str]]:
    """Return the values of a setting with their types, and the first mistake among them."""
    if name in ("network", "network.name", "network.weights"):
        return [], [
            f"space.{name}: cannot be searched, since networks differ in their options; compare models instead."
        ]
    if name == "warm_start":
        return [], ["space.warm_start: cannot be searched, since trials run before models are trained."]
    if name in FUNCTIONS and any(isinstance(value, str) and ":" in value for value in part.probes):
        return [], [f"space.{name}: functions from a file cannot be searched; compare models instead."]
    values = []
    for value in part.probes:
        settings, mistakes = _one(base, name, value)
        if settings is None:
            return [], mistakes
        values.append(_at(settings, name))
    return values, []


def _one(base: Settings, name: str, value: Any) -> tuple[Settings | None, list[str]]:
    if name == "search":
        return None, ["space.search: no such setting of a trial."]
    try:
        settings, mistakes = typed(with_values(base, {name: value}), "space")
        return settings, [line.replace("space: ", f"space.{name}: ", 1) for line in mistakes]
    except InputError as error:
        return None, [f"space.{error}"]


def _at(settings: Any, name: str) -> Any:
    for key in name.split("."):
        settings = settings[int(key) if isinstance(settings, list) else key]
    return settings


def _pairs(search: Search, base: Settings) -> list[str]:
    """Return the first contradiction of each two settings, of a range between its ends."""
    lines = []
    for one, other in combinations(search.space, 2):
        for values in product(search.space[one].probes, search.space[other].probes):
            _, found = typed(with_values(base, dict(zip((one, other), values, strict=True))), "")
            if found:
                lines.append(f"space: {one} {values[0]} with {other} {values[1]}: {found[0]}")
                break
    return lines
