"""Send the submission to Kaggle, wait for its score and write both down.

Part of no other target: a submission counts against the account's daily limit, so it happens only when asked for, only
with the file that the current settings made, and only once for each content. The description carries the first digits
of the file's SHA-256 and the out-of-fold AUC: Kaggle's own list then tells, on any machine, what was sent before.

A run that ends between sending and the score leaves `<record>.sent` beside the record; the next one finds there what
it sent and only waits.
"""

import hashlib
import logging
import time
from datetime import UTC, datetime
from pathlib import Path

from histo.errors import InputError
from histo.files import read_json, write_json
from histo.formatting import duration
from histo.remote.http import TooManyRequests, Unreachable
from histo.remote.kaggle import Competition, Submission

DIGITS = 16  # of the SHA-256, in the description
MESSAGE = 300  # characters of the user's message that are sent
FIRST_PAUSE = 5.0  # seconds between two looks at the list, half as much again each time
LONGEST_PAUSE = 60.0

log = logging.getLogger(__name__)


def submit(
    submission: Path,
    made: Path,
    evaluation: Path,
    record: Path,
    *,
    competition: str,
    message: str,
    again: bool,
    patience: float,
    code: dict[str, str],
) -> None:
    """Send `submission` to `competition` and write `record` (JSON: public and private score, status, reference, ...).

    `made` is the JSON that the stage submission wrote beside the file, with its "sha256"; `evaluation` the JSON with
    the out-of-fold "auc". `again` sends what was sent before once more. `patience` is the longest wait for the score,
    in seconds. InputError when the file is not the one that was made, was sent before, or Kaggle refuses it.
    """
    digest = hashlib.sha256(submission.read_bytes()).hexdigest()
    if read_json(made).get("sha256") != digest:
        raise InputError(
            f"{submission} is not the file that the current settings made (its SHA-256 is not the one in {made}): it "
            "was edited or replaced. Delete it and run `snakemake submission`, then submit."
        )
    auc = read_json(evaluation)["auc"]
    text = " ".join(message.split())[:MESSAGE]
    description = f"{text} [OOF AUC {auc:.5f}, SHA-256 {digest[:DIGITS]}]".strip()

    kaggle = Competition(competition)
    sent = record.with_name(record.name + ".sent")
    reference = _sent_now(kaggle, submission, digest, description, sent, again)
    result = wait(kaggle, reference, patience)
    if result.status == "error":
        sent.unlink(missing_ok=True)
        raise InputError(
            f"Kaggle could not score the submission {reference}: {result.error or 'no reason given'}. Compare "
            f"{submission} with sample_submission.csv, correct what made it and submit again."
        )
    value = {
        "competition": competition,
        "reference": reference,
        "status": result.status,
        "public": result.public,
        "private": result.private,
        "sent": result.time,
        "scored": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "description": result.description,
        "oof_auc": auc,
        "sha256": digest,
        "code": code,
    }
    write_json(record, value)
    sent.unlink(missing_ok=True)
    log.info("submission %d: public score %s, private score %s, out-of-fold AUC %.5f", reference,
             _shown(result.public), _shown(result.private), auc)  # fmt: skip


def _sent_now(kaggle: Competition, submission: Path, digest: str, description: str, sent: Path, again: bool) -> int:
    """The reference of this file's submission: sent now, or by a run that ended before the score came."""
    earlier = [one for one in kaggle.submissions() if digest[:DIGITS] in one.description]
    begun = read_json(sent) if sent.exists() else {}
    if begun.get("sha256") == digest:
        # Sent by a run that was stopped: what the list has beyond what that run found there.
        ours = [one for one in earlier if one.reference not in begun["known"]]
        if ours:
            log.info("submission %d was sent by an earlier run: waiting for its score", ours[0].reference)
            return ours[0].reference
    waiting = [one for one in earlier if one.status == "pending"]
    if waiting and not again:
        log.info("submission %d with the same content has no score yet: waiting for it", waiting[0].reference)
        return waiting[0].reference
    if earlier and not again:
        one = earlier[0]
        raise InputError(
            f"{submission} was sent before: submission {one.reference} of {one.time}, status {one.status}, public "
            f"score {_shown(one.public)}, private score {_shown(one.private)}{f' ({one.error})' if one.error else ''}. "
            "To send it once more, set submit.again: true."
        )
    write_json(sent, {"sha256": digest, "known": [one.reference for one in earlier]})
    reference = kaggle.send(submission, description)
    log.info("sent as submission %d: %s", reference, description)
    return reference


def wait(kaggle: Competition, reference: int, patience: float) -> Submission:
    """The submission once Kaggle is done with it; InputError after `patience` seconds, the wait can be taken up."""
    begun, pause = time.monotonic(), FIRST_PAUSE
    while True:
        asked = pause
        try:
            found = next((one for one in kaggle.submissions() if one.reference == reference), None)
            if found and found.status != "pending":
                return found
            log.info("submission %d has no score yet, %s so far", reference, duration(time.monotonic() - begun))
        except TooManyRequests as error:
            asked = max(pause, error.wait or 0.0)
            log.warning("Kaggle asks to wait %s before the next look", duration(asked))
        except Unreachable as error:
            log.warning("%s Looking again in %s.", error.reason, duration(pause))
        if time.monotonic() - begun + asked > patience:
            raise InputError(
                f"The submission is sent (reference {reference}), but Kaggle has given no score within "
                f"{duration(patience)}. Run again to go on waiting: nothing is sent a second time."
            )
        time.sleep(asked)
        pause = min(pause * 1.5, LONGEST_PAUSE)


def _shown(score: float | None) -> str:
    return "none" if score is None else f"{score:.5f}"


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    submit(
        Path(snakemake.input.submission),
        Path(snakemake.input.made),
        Path(snakemake.input.evaluation),
        Path(snakemake.output.record),
        code=snakemake.params.code,
        **snakemake.params.settings,
    )
