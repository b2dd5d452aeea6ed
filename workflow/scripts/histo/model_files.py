"""Files of several models, which a rule lists in one input."""

from collections.abc import Sequence
from pathlib import Path


def by_model(paths: Sequence[str], models: Sequence[str]) -> dict[str, list[Path]]:
    """Group paths `.../{model}/{network}/{file}` by model, in the order of `models`; the files keep their order."""
    files = [Path(path) for path in paths]
    return {model: [path for path in files if path.parent.parent.name == model] for model in models}
