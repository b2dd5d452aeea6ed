"""Search spaces and results of trials for the tests of the hyperparameter search."""

from typing import Any

RATE = {"low": 0.0005, "high": 0.05, "whole": False, "log": True, "step": None}
WIDTH = {"low": 8, "high": 16, "whole": True, "log": False, "step": 4}


def trial_result(number: int, score: float | None, **draws: Any) -> dict[str, Any]:
    """Return what `search_trial` writes for a trial with this score; None: its training diverged."""
    seconds, failed = (7.5, None) if score is not None else (0.0, "fold 0: The loss is not finite at <epoch> 1.")
    return {"trial": number, "draws": draws, "score": score, "loss": score and 1 - score, "epochs": 5,
            "seconds": seconds, "failed": failed, "folds": []}  # fmt: skip
