"""Files of several models and folds, which a rule lists in one input."""

from collections.abc import Sequence
from pathlib import Path


def by_model(paths: Sequence[str], models: Sequence[str]) -> dict[str, list[Path]]:
    """Split `paths`, the files of all folds of the first model, then of the second and so on, into a list per model."""
    count = len(paths) // max(len(models), 1)
    return {model: [Path(p) for p in paths[i * count : (i + 1) * count]] for i, model in enumerate(models)}
