"""Conversion between logits and probabilities."""

import numpy as np
import numpy.typing as npt

LOWEST, HIGHEST = np.finfo(np.float64).tiny, 1 - np.finfo(np.float64).epsneg  # closest to 0 and 1


def sigmoid(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return probabilities in float64, without overflow, so that extreme logits keep their order as far as possible."""
    logits = logits.astype(np.float64)
    small = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits >= 0, 1 / (1 + small), small / (1 + small)))


def softmax(logits: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return probabilities in float64 that sum to 1 over the last axis."""
    logits = logits.astype(np.float64)
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def logit(probabilities: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Return log(p / (1 - p)) in float32, finite also where a probability was rounded to 0 or 1."""
    p = np.clip(probabilities, LOWEST, HIGHEST)
    return np.asarray((np.log(p) - np.log1p(-p)).astype(np.float32))
