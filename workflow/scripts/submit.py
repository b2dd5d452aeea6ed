"""Send the submission to Kaggle, wait for its score and record both.

A submission counts against the daily limit of the account. No other target depends on this stage, it sends only the
file that the current settings produce, and it sends the same content only once. The description contains the first
digits of the file's SHA-256 and the out-of-fold AUC, so Kaggle's own list shows on any machine what was sent before.

A run that ends after sending and before the score leaves `<record>.sent` beside the record. The next run reads there
what was sent, and only waits for the score.
"""

import logging
import time
from datetime import UTC, datetime
from pathlib import Path

from histo.errors import InputError
from histo.files import read_json, write_json
from histo.formatting import duration
from histo.hashes import file_sha256
from histo.remote.http import RetryableError, TooManyRequests
from histo.remote.kaggle import Competition, Submission

DIGITS = 16  # digits of the SHA-256 in the description
MESSAGE = 300  # characters of the user's message that are sent
FIRST_PAUSE = 5.0  # seconds before the list is requested again, 1.5 times as long after each request
LONGEST_PAUSE = 60.0

log = logging.getLogger(__name__)


def submit(
    submission: Path,
    submission_summary: Path,
    evaluation: Path,
    record: Path,
    *,
    competition: str,
    message: str,
    again: bool,
    patience: float,
    code: dict[str, str],
) -> None:
    """Send `submission` to `competition` and write `record` (JSON: public and private score, status, reference, …).

    submission_summary: JSON with the "sha256" of the file that was written. evaluation: JSON with the out-of-fold
    "auc". again: send a file that was sent before. patience: longest wait for the score, seconds. code: fingerprint of
    the code, for the record. Raises InputError where the file is not the one that was written or was sent before, and
    where Kaggle refuses it, cannot score it or gives no score in time.
    """
    digest = file_sha256(submission)
    expected = read_json(submission_summary).get("sha256")
    if expected != digest:
        raise InputError(
            f"{submission}: expected the SHA-256 {expected} (in {submission_summary}), found {digest}: the file was "
            "edited or replaced. Delete it, run `snakemake submission`, then submit."
        )
    auc = read_json(evaluation)["auc"]
    text = " ".join(message.split())[:MESSAGE]
    description = f"{text} [OOF AUC {auc:.5f}, SHA-256 {digest[:DIGITS]}]".strip()

    kaggle = Competition(competition)
    sent = record.with_name(record.name + ".sent")
    reference = _send_once(kaggle, submission, digest, description, sent, again)
    result = wait(kaggle, reference, patience)
    if result.status == "error":
        sent.unlink(missing_ok=True)
        raise InputError(
            f"Kaggle could not score the submission {reference}: {result.error or 'no reason given'}. Compare "
            f"{submission} with sample_submission.csv, fix the cause and submit again."
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
             _score_text(result.public), _score_text(result.private), auc)  # fmt: skip


def _send_once(kaggle: Competition, submission: Path, digest: str, description: str, sent: Path, again: bool) -> int:
    """Send the file unless that was done before; returns the reference of its submission.

    sent: the file with the state of a run that sends. Raises InputError where the file was scored before and `again` is
    false.
    """
    earlier = [item for item in kaggle.submissions() if digest[:DIGITS] in item.description]
    state = read_json(sent) if sent.exists() else {}
    if state.get("sha256") == digest:
        # An interrupted run may have sent the file: its submission is not among those that it knew beforehand.
        new = [item for item in earlier if item.reference not in state["known"]]
        if new:
            log.info("submission %d was sent by an earlier run: waiting for its score", new[0].reference)
            return new[0].reference
    pending = [item for item in earlier if item.status == "pending"]
    if pending and not again:
        log.info("submission %d with the same content has no score yet: waiting for it", pending[0].reference)
        return pending[0].reference
    if earlier and not again:
        last = earlier[0]
        raise InputError(
            f"{submission} was sent before: submission {last.reference} of {last.time}, status {last.status}, public "
            f"score {_score_text(last.public)}, private score {_score_text(last.private)}"
            f"{f' ({last.error})' if last.error else ''}. To send it again, set submit.again: true."
        )
    write_json(sent, {"sha256": digest, "known": [item.reference for item in earlier]})
    reference = kaggle.send(submission, description)
    log.info("sent as submission %d: %s", reference, description)
    return reference


def wait(kaggle: Competition, reference: int, patience: float) -> Submission:
    """Wait until Kaggle has scored or rejected a submission, and return it.

    patience: longest wait, seconds; then InputError. Another run continues to wait.
    """
    start, pause = time.monotonic(), FIRST_PAUSE
    while True:
        delay = pause
        try:
            found = next((item for item in kaggle.submissions() if item.reference == reference), None)
            if found and found.status != "pending":
                return found
            log.info("submission %d has no score yet after %s", reference, duration(time.monotonic() - start))
        except TooManyRequests as error:
            delay = max(pause, error.wait or 0.0)
            log.warning(
                "Kaggle received too many requests (HTTP 429). Requesting the list again in %s.", duration(delay)
            )
        except RetryableError as error:
            log.warning("%s Requesting the list again in %s.", error.reason, duration(pause))
        if time.monotonic() - start + delay > patience:
            raise InputError(
                f"The submission was sent (reference {reference}), but Kaggle gave no score within "
                f"{duration(patience)} (submit.patience). Run again to continue waiting; nothing is sent again."
            )
        time.sleep(delay)
        pause = min(pause * 1.5, LONGEST_PAUSE)


def _score_text(score: float | None) -> str:
    return "none" if score is None else f"{score:.5f}"


if __name__ == "__main__":
    from histo import job

    job.start(snakemake)
    submit(
        Path(snakemake.input.submission),
        Path(snakemake.input.submission_summary),
        Path(snakemake.input.evaluation),
        Path(snakemake.output.record),
        code=snakemake.params.code,
        **snakemake.params.settings,
    )
