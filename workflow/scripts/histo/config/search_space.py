"""Section `search` of the configuration: what each search draws from, and what is wrong with it before it starts."""

import math
from collections.abc import Callable
from itertools import combinations, product
from typing import Any

import yaml

from histo.errors import InputError
from histo.overrides import place

RANGE = ("low", "high", "log", "step")

Faults = Callable[[dict[str, Any]], list[str]]


def read_choices(search: dict[str, Any], base: dict[str, Any], faults: Faults) -> None:
    """Turn choices that are texts standing for numbers, such as 1e-3, into what the setting allows, in place."""
    for name, part in search["space"].items():
        for number, choice in enumerate(part.get("choices", [])):
            if isinstance(choice, str) and _faults_of(base, name, choice, faults):
                for read in (yaml.safe_load, float):
                    try:
                        value = read(choice)
                    except (ValueError, yaml.YAMLError):
                        continue
                    if not _faults_of(base, name, value, faults):
                        part["choices"][number] = value
                        break


def resolved_space(search: dict[str, Any], base: dict[str, Any], faults: Faults) -> dict[str, dict[str, Any]]:
    """Return the space of a search as histo/training/trial_sampling.py reads it, sorted by name.

    Numbers of a range are whole where the setting takes no others.
    """
    space = {}
    for name, part in sorted(search["space"].items()):
        if "choices" in part:
            space[name] = {"choices": part["choices"]}
            continue
        low, high = part["low"], part["high"]
        step = part.get("step") or None
        # Also where they are written as 32.0, which a schema takes for a whole number.
        whole = _is_whole(low, high) and bool(_faults_of(base, name, low + 0.5, faults))
        if whole:
            low, high, step = int(low), int(high), step and int(step)
        space[name] = {"low": low, "high": high, "whole": whole, "log": bool(part.get("log")), "step": step}
    return space


def space_faults(search: dict[str, Any], base: dict[str, Any], faults: Faults) -> list[str]:
    """Return what is wrong with the space of a search whose trials change the complete settings `base`.

    faults: what is wrong with complete settings of a model. Every choice is tried, and of a range its ends and a
    value between; the first that is wrong is told.
    """
    lines = []
    for name, part in search["space"].items():
        if name in ("network", "network.name", "network.weights"):
            lines.append(f"space.{name}: not to be searched, since networks differ in options; compare models instead.")
            continue
        shape = _shape_fault(part)
        if shape:
            lines.append(f"space.{name}: {shape}")
            continue
        for value in part.get("choices") or _probes(part):
            found = [f"space.{line}" for line in _faults_of(base, name, value, faults)]
            lines += found
            if found:
                break
    return lines


def joint_faults(search: dict[str, Any], base: dict[str, Any], faults: Faults) -> list[str]:
    """Return the first mistake of each two settings that are right one by one, such as shares whose sum is above 1.

    Of a range its ends are tried, of choices all.
    """
    space = {name: part.get("choices") or [part["low"], part["high"]] for name, part in search["space"].items()}
    lines = []
    for one, other in combinations(space, 2):
        for values in product(space[one], space[other]):
            found = faults(place(base, dict(zip((one, other), values, strict=True))))
            if found:
                lines.append(f"space: {one} {values[0]} with {other} {values[1]}: {found[0]}")
                break
    return lines


def _shape_fault(part: dict[str, Any]) -> str:
    """Say what is wrong with a range or a list of choices in itself."""
    if "choices" in part:
        beside = [key for key in RANGE if key in part]
        return f"choices and {', '.join(beside)} exclude each other." if beside else ""
    missing = [key for key in RANGE[:2] if key not in part]
    if missing:
        return f"{' and '.join(missing)} missing; write {{low: …, high: …}} or {{choices: […]}}."
    if not all(math.isfinite(part[key]) for key in RANGE if key in part and part[key] is not None):
        return "expected finite numbers."
    if part["low"] >= part["high"]:
        return f"expected low below high, found {part['low']} and {part['high']}."
    if part.get("log") and part.get("step"):
        return "log and step exclude each other."
    if part.get("log") and part["low"] <= 0:
        return f"log needs low above 0, found {part['low']}."
    steps = (part["high"] - part["low"]) / (part.get("step") or part["high"] - part["low"])
    if abs(steps - round(steps)) > 1e-8 * max(1, steps):
        return f"expected a whole number of steps of {part['step']} from {part['low']} to {part['high']}."
    return ""


def _probes(part: dict[str, Any]) -> list[float]:
    low, high = part["low"], part["high"]
    between = low + part["step"] if part.get("step") else (low + high) / 2
    if _is_whole(low, high) and not part.get("step"):
        between = low + 1
    return [low, high, between]


def _is_whole(*numbers: float) -> bool:
    return all(float(number).is_integer() for number in numbers)


def _faults_of(base: dict[str, Any], name: str, value: Any, faults: Faults) -> list[str]:
    try:
        return faults(place(base, {name: value}))
    except InputError as error:
        return [str(error)]
