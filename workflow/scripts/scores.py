"""List all submissions of this account to the competition, newest first, with their scores and out-of-fold AUCs.

The out-of-fold AUC is read from the description that the stage submit writes, so the list is the same on any machine.
Submissions sent by hand have none.
"""

import logging
import re
from dataclasses import asdict
from pathlib import Path

from histo.files import write_json
from histo.remote.kaggle import Competition

log = logging.getLogger(__name__)

STAMP = re.compile(r"\[OOF AUC (?P<auc>[01]\.\d+), SHA-256 (?P<digest>[0-9a-f]+)\]")


def scores(listed: Path, *, competition: str) -> None:
    """Write the list of submissions to `listed` (JSON).

    {"competition", "submissions": [{reference, time, file, description, status, public, private, error, oof_auc,
    sha256}]}. `oof_auc` and `sha256` (its first digits) are null where the description does not contain them.
    """
    rows = []
    for submission in Competition(competition).submissions():
        stamp = STAMP.search(submission.description)
        auc, digest = (float(stamp["auc"]), stamp["digest"]) if stamp else (None, None)
        rows.append(asdict(submission) | {"oof_auc": auc, "sha256": digest})
        log.info("%s  %s  public %s  private %s  OOF AUC %s  %s", submission.time, submission.status, submission.public,
                 submission.private, auc, submission.description)  # fmt: skip
    write_json(listed, {"competition": competition, "submissions": rows})
    log.info("%d submissions", len(rows))


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    scores(Path(snakemake.output.scores), **snakemake.params.settings)
