"""From logits to probabilities and back."""

import numpy as np

LOWEST, HIGHEST = np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).epsneg  # next to 0 and 1


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities in float64, without overflow, so that the order of extreme logits survives as far as it can."""
    logits = logits.astype(np.float64)
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + small), small / (1 + small))


def logit(probabilities: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)), float32, finite also where a probability has rounded to 0 or 1."""
    p = np.clip(probabilities, LOWEST, HIGHEST)
    return (np.log(p) - np.log1p(-p)).astype(np.float32)
