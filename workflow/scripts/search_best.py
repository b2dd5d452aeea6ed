"""Write the settings of the best trial of a search.

`best.yaml` holds complete settings of a model, which the rule train reads and which can be copied under `models`.
"""

import json
import logging
from pathlib import Path
from typing import Any

import yaml

from histo.files import atomic_write, read_json
from histo.overrides import with_values
from histo.training.best_trial import Trial, best_of


def write_settings(path: Path, trial: Trial, settings: dict[str, Any], search: str) -> None:
    """Write the settings of a trial: the complete settings `settings` of a model with the values that it sampled."""
    # Without the number of trials: more trials without a better one must not change the file and retrain its model.
    head = f"# Settings of trial {trial['trial']} of the search {search}, validation AUC {trial['score']:.4f}.\n"
    best = json.loads(json.dumps(with_values(settings, trial["draws"])))  # of plain types, which YAML can write
    with atomic_write(path) as temporary:
        temporary.write_text(head + yaml.safe_dump(best, sort_keys=False))


def search_best(trial_files: list[str], output: Path, *, search: str, settings: dict[str, Any]) -> None:
    """Write the best settings. Raises InputError if all trials failed.

    trial_files: from `search_trial`, in the order of the trials; settings: those that the trials change.
    """
    trials = [read_json(path) for path in trial_files]
    best = best_of(trials)
    write_settings(output, best, settings, search)
    logging.info(
        "Best trial of the search %s: %d of %d, validation AUC %.4f.", search, best["trial"], len(trials), best["score"]
    )


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    search_best(
        list(snakemake.input.trials),
        Path(snakemake.output[0]),
        search=snakemake.wildcards.search,
        settings=snakemake.params.settings,
    )
