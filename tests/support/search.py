"""Search spaces, results of trials and the page of a search, for the tests of the hyperparameter search."""

from pathlib import Path
from typing import Any

from histo.files import write_json
from search_best import search_best
from search_page import search_page
from support import ROOT
from support.training import CODE, settings

TEMPLATE = ROOT / "workflow" / "report" / "search.html.j2"
RATE = {"low": 0.0005, "high": 0.05, "whole": False, "log": True, "step": None}
WIDTH = {"low": 8, "high": 16, "whole": True, "log": False, "step": 4}


def trial_result(number: int, score: float | None, **draws: Any) -> dict[str, Any]:
    """Return what `search_trial` writes for a trial with this score; None: its training diverged."""
    seconds, failed = (7.5, None) if score is not None else (0.0, "fold 0: The loss is not finite at <epoch> 1.")
    folds = [] if score is None else [{"fold": k, "aucs": [score - 0.1, score + 0.02 * k]} for k in (-1, 1)]
    return {"trial": number, "draws": draws, "score": score, "loss": score and 1 - score, "epochs": 5,
            "seconds": seconds, "failed": failed, "folds": folds}  # fmt: skip


SPACE = {"learning_rate": RATE, "network.width": WIDTH, "sizes": {"choices": [[8, 16], [16, 32]]}}
TRIALS = [
    trial_result(1, 0.8, **{"learning_rate": 0.001, "network.width": 8, "sizes": [8, 16]}),
    trial_result(2, None, **{"learning_rate": 0.05, "network.width": 12, "sizes": [16, 32]}),
    trial_result(3, 0.9, **{"learning_rate": 0.01, "network.width": 16, "sizes": [8, 16]}),
    trial_result(4, 0.9, **{"learning_rate": 0.02, "network.width": 12, "sizes": [16, 32]}),
]


def collect(folder: Path, trials: list[dict[str, Any]], name: str = "small", **base: Any) -> list[Path]:
    """Write the trials and collect them; return the paths of best settings, table, page and summary.

    name: of the data set; base: changes to the settings of the model.
    """
    paths = [folder / f"trial-{trial['trial']:03d}.json" for trial in trials]
    for path, trial in zip(paths, trials, strict=True):
        write_json(path, trial)
    outputs = [folder / name for name in ("best.yaml", "trials.csv", "trials.html", "trials.json")]
    chosen = settings(**base).model_dump()
    search_best(list(map(str, paths)), outputs[0], search="fine", settings=chosen)
    search_page(
        list(map(str, paths)), *outputs, template=TEMPLATE, layout=TEMPLATE.with_name("page.html.j2"), search="fine",
        dataset={"name": name, "source": "synthetic"}, code={"search_best": CODE},
        settings={
            "base": chosen, "space": SPACE, "sampler": "random", "seed": 4, "folds": [0, 1],
        },
    )  # fmt: skip
    return outputs
