"""The record of a run, `provenance.json`, from which it can be run again, and the comparison of two such records."""

from pathlib import Path
from typing import Any

from histo.files import read_json

CAUSES = ("data", "code", "libraries", "machine")  # parts of a record that may explain another result


def record(
    made: dict[str, Any],
    settings: dict[str, Any],
    given: dict[str, str],
    code: dict[str, dict[str, str]],
    networks: dict[str, str],
    submission: str,
) -> dict[str, Any]:
    """Return the record of a run.

    made: command, versions, hardware and fingerprint of the tiles, as in the report; settings: all of the run; given:
    identities of the user's files by setting; code: {stage: fingerprints}; networks: SHA-256 of the weights of each
    network, by file; submission: SHA-256 of submission.csv.
    """
    files = {file: digest for stage in code.values() for file, digest in stage.items()}
    return {
        "command": made["command"],
        "commit": made["provenance"]["commit"],
        "settings": settings,
        "seeds": seeds(settings),
        "data": {**given, "tiles": made["tiles_sha256"]},
        "code": dict(sorted(files.items())),
        "libraries": made["provenance"]["versions"],
        "machine": made["hardware"],
        "results": {**dict(sorted(networks.items())), "submission.csv": submission},
    }


def seeds(settings: dict[str, Any], prefix: str = "") -> dict[str, int]:
    """Return all settings that are named `seed`, by dotted name."""
    found: dict[str, int] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            found |= seeds(value, f"{prefix}{name}.")
        elif name == "seed":
            found[f"{prefix}{name}"] = value
    return found


def digests_of_networks(summaries: list[Path]) -> dict[str, str]:
    """Return the SHA-256 of the weights of networks by path below the results; summaries: their `training.json`."""
    return {f"{'/'.join(path.parts[-4:-1])}/weights.pt": read_json(path)["weights_sha256"] for path in summaries}


def difference(expected: dict[str, Any], found: dict[str, Any]) -> str:
    """Say in words in which result two records differ first, and what may explain it; empty if all results are equal.

    Networks come before the submission that they predict.
    """
    for name, digest in expected["results"].items():
        other = found["results"].get(name)
        if other != digest:
            causes = [text for part in CAUSES if (text := _first(part, expected[part], found[part]))]
            why = "; ".join(causes) or f"{', '.join(CAUSES)} are those of the record"
            return f"{name}: expected SHA-256 {digest}, found {other}. Other than recorded: {why}."
    return ""


def _first(part: str, expected: Any, found: Any) -> str:
    """Return the first entry of a part of the records that differs, in words; empty for none."""
    if not isinstance(expected, dict):
        return "" if expected == found else f"{part} {found}, recorded {expected}"
    names = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    return f"{part} {names[0]} {found.get(names[0])}, recorded {expected.get(names[0])}" if names else ""
