"""A finished run: which networks a model consists of, and where its files lie."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from histo.errors import InputError


def networks(folds: Sequence[int], full_networks: int) -> list[str]:
    """Return the names of the networks of a model that predict other tiles: of the folds, or trained on all tiles.

    full_networks: the setting `submission.full_networks`.
    """
    return [f"full-{k}" for k in range(full_networks)] if full_networks else [f"fold-{k}" for k in folds]


def read_settings(run: Path, model: str) -> dict[str, Any]:
    """Return the settings of a run, from the file that `report` writes.

    run: folder of the results. Raises InputError if it has no such file, or no such model.
    """
    path = run / "config.yaml"
    try:
        config = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise InputError(f"{path}: expected the settings of a finished run, found none ({reason}). Finish the "
                         "run, or name the folder of another one.") from None  # fmt: skip
    known = config.get("models", {}) if isinstance(config, dict) else {}
    if model not in known:
        raise InputError(
            f"{path}: expected the model {model!r}, found {', '.join(known) or 'none'}. Only networks of the "
            "submission can be applied."
        )
    return dict(config)
