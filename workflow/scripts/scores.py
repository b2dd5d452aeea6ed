"""List what this account has sent to the competition, newest first, with scores and out-of-fold AUC.

The out-of-fold AUC is read from the description that the stage submit gives, so the list is the same on any machine;
submissions sent by hand have none.
"""

import logging
import re
from dataclasses import asdict
from pathlib import Path

from histo.files import write_json
from histo.remote.kaggle import Competition

log = logging.getLogger(__name__)

MARK = re.compile(r"\[OOF AUC (?P<auc>[01]\.\d+), SHA-256 (?P<digest>[0-9a-f]+)\]")


def scores(listed: Path, *, competition: str) -> None:
    """Write `listed`: {"competition", "submissions": [{reference, time, file, description, status, public, private,
    error, oof_auc, sha256}]}; `oof_auc` and `sha256` (its first digits) are null where the description has none."""
    rows = []
    for one in Competition(competition).submissions():
        mark = MARK.search(one.description)
        own = {"oof_auc": float(mark["auc"]), "sha256": mark["digest"]} if mark else {"oof_auc": None, "sha256": None}
        rows.append(asdict(one) | own)
        log.info("%s  %s  public %s  private %s  OOF AUC %s  %s", one.time, one.status, one.public, one.private,
                 own["oof_auc"], one.description)  # fmt: skip
    write_json(listed, {"competition": competition, "submissions": rows})
    log.info("%d submissions", len(rows))


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    scores(Path(snakemake.output.scores), **snakemake.params.settings)
