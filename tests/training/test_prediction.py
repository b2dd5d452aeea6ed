"""The logits of the views of a tile, averaged."""

import numpy as np
import pytest

from histo.training.prediction import combine


def test_averages_computed_by_hand():
    views = np.array([[np.log(1 / 3), 0, np.log(3), np.log(3)], [-50, 0, 0, 800]], dtype=np.float32)
    logits, probabilities = combine(views, "probabilities")
    assert probabilities == pytest.approx([(0.25 + 0.5 + 0.75 + 0.75) / 4, 0.5], rel=1e-7)
    assert logits == pytest.approx([np.log(0.5625 / 0.4375), 0], abs=1e-6)
    logits, probabilities = combine(views, "logits")
    assert logits == pytest.approx([np.log(3) / 4, 187.5])
    assert probabilities == pytest.approx([1 / (1 + 3**-0.25), 1])
    assert (logits.dtype, probabilities.dtype) == (np.float32, np.float64)


def test_probabilities_are_finer_than_their_logits():
    """Different means of logits that round to the same float32."""
    step = np.nextafter(np.float32(1), np.float32(2))
    logits, probabilities = combine(np.array([[1, 1, 1, 1], [1, 1, 1, step]], dtype=np.float32), "logits")
    assert logits[0] == logits[1] and probabilities[0] < probabilities[1]


@pytest.mark.parametrize("average", ["logits", "probabilities"])
def test_views_of_several_classes_are_averaged(average):
    views = np.random.default_rng(0).normal(size=(5, 4, 3)).astype(np.float32)
    p = np.exp(views.astype(float)) / np.exp(views.astype(float)).sum(2, keepdims=True)
    mean = np.exp(views.mean(1, dtype=float)) if average == "logits" else p.mean(1)
    logits, probabilities = combine(views, average)
    assert (logits.shape, logits.dtype, probabilities.shape) == ((5, 3), np.float32, (5, 3))
    np.testing.assert_allclose(probabilities, mean / mean.sum(1, keepdims=True), rtol=1e-12)
    powers = np.exp(logits.astype(float))
    np.testing.assert_allclose(powers / powers.sum(1, keepdims=True), probabilities, rtol=1e-5)
