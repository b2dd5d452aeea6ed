"""Conversion between logits and probabilities."""

import numpy as np
import pytest

from histo.logits import logit, sigmoid


def test_sigmoid_keeps_the_order_of_extreme_logits():
    logits = np.array([-700, -50, -1, 0, 1, 30], dtype=np.float32)
    values = sigmoid(logits)
    assert (np.diff(values) > 0).all() and values[3] == 0.5
    assert values[1] == pytest.approx(np.exp(-50)) and values[0] > 0


def test_logits_of_probabilities_near_0_and_1_are_finite_and_ordered():
    values = logit(np.array([0.0, 1e-300, 1e-20, 0.5, 1 - 1e-10, 1.0]))
    assert np.isfinite(values).all() and (np.diff(values) > 0).all()
    assert values[3] == 0


def test_sigmoid_and_logit_are_inverse():
    logits = np.linspace(-30, 30, 61).astype(np.float32)
    assert np.allclose(logit(sigmoid(logits)), logits, atol=2e-3)
    assert np.allclose(logit(sigmoid(logits[:41])), logits[:41], atol=1e-5)
