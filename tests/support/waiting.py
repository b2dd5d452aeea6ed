"""Waiting for what another process does."""

import time
from collections.abc import Callable


def wait_for(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Return as soon as the condition holds. Raises TimeoutError with `what` after this number of seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} seconds: {what}")
        time.sleep(0.05)
