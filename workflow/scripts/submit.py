"""Send the submission to Kaggle, wait for its score and record both.

A submission counts against the daily limit of the account. No other target depends on this stage, it sends only the
file that the current settings produce, and it sends the same content only once. The description contains the first
digits of the file's SHA-256 and the out-of-fold AUC, so Kaggle's own list shows on any machine what was sent before.

Before it sends, a run writes what it sends and when to `<record>.sent` beside the record. If it ends before the score,
the next run finds the submission in Kaggle's list, which may show it late, and only waits for the score. If the list
does not show it in time, whether it arrived is unknown and nothing is sent until the user has looked.
"""

import logging
import time
from collections.abc import Iterator
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
LISTED_AFTER = 600.0  # seconds after which Kaggle's list shows what was sent

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
        reference = _sent_by_earlier_run(kaggle, digest, set(state["known"]), datetime.fromisoformat(state["time"]))
        if reference is not None:
            log.info("submission %d was sent by an earlier run: waiting for its score", reference)
            return reference
        if not again:
            raise InputError(
                f"{submission}: an earlier run ended while it sent this file, {state['time']}, and Kaggle's list does "
                f"not show it. Look at https://www.kaggle.com/competitions/{kaggle.name}/submissions. If it is not "
                "there, set submit.again: true to send it; if it appears later, run again."
            )
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
    now = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(sent, {"sha256": digest, "time": now, "known": [item.reference for item in earlier]})
    try:
        reference = kaggle.send(submission, description)
    except RetryableError:
        raise  # whether the submission arrived is unknown
    except InputError:
        sent.unlink()
        raise
    log.info("sent as submission %d: %s", reference, description)
    return reference


def _sent_by_earlier_run(kaggle: Competition, digest: str, known: set[int], begun: datetime) -> int | None:
    """Return the reference of the submission that a run began to send at `begun`; None if the list does not show it.

    known: references of the submissions with the same content that the list showed before.
    """
    passed = max(0.0, (datetime.now(UTC) - begun).total_seconds())  # below 0 if the clock was set back
    for listed in _lists(kaggle, LISTED_AFTER - passed):
        for item in listed:
            if digest[:DIGITS] in item.description and item.reference not in known:
                return item.reference
        log.info("Kaggle's list does not show yet what an earlier run sent")
    return None


def wait(kaggle: Competition, reference: int, patience: float) -> Submission:
    """Wait until Kaggle has scored or rejected a submission, and return it.

    patience: longest wait, seconds; then InputError. Another run continues to wait.
    """
    start = time.monotonic()
    for listed in _lists(kaggle, patience):
        found = next((item for item in listed if item.reference == reference), None)
        if found and found.status != "pending":
            return found
        log.info("submission %d has no score yet after %s", reference, duration(time.monotonic() - start))
    raise InputError(
        f"The submission was sent (reference {reference}), but Kaggle gave no score within "
        f"{duration(patience)} (submit.patience). Run again to continue waiting; nothing is sent again."
    )


def _lists(kaggle: Competition, patience: float) -> Iterator[list[Submission]]:
    """Yield Kaggle's list of submissions again and again for `patience` seconds, at least once; faults that pass are
    waited for."""
    start, pause = time.monotonic(), FIRST_PAUSE
    while True:
        delay = pause
        try:
            yield kaggle.submissions()
        except TooManyRequests as error:
            delay = max(pause, error.wait or 0.0)
            log.warning(
                "Kaggle received too many requests (HTTP 429). Requesting the list again in %s.", duration(delay)
            )
        except RetryableError as error:
            log.warning("%s Requesting the list again in %s.", error.reason, duration(pause))
        if time.monotonic() - start + delay > patience:
            return
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
