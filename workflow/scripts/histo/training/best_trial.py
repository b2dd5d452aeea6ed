"""The best trial of a search."""

from typing import Any

from histo.errors import InputError

Trial = dict[str, Any]


def best_of(trials: list[Trial]) -> Trial:
    """Return the first of the trials with the highest score. Raises InputError if all trials failed."""
    scored = [trial for trial in trials if trial["score"] is not None]
    if not scored:
        raise InputError(
            f"All {len(trials)} trials of the search failed. Error of the first one: {trials[0]['failed']} Narrow the "
            "search space, first of all the range of the learning rate."
        )
    return max(scored, key=lambda trial: trial["score"])
