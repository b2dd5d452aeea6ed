"""The speed of a model: what is measured is its own training step and prediction."""

import time

from histo.training import speed
from support.training import make_training_tiles, settings


def test_training_and_prediction_are_measured_in_tiles_per_second(tmp_path, monkeypatch):
    shards = make_training_tiles(tmp_path)
    monkeypatch.setattr(speed, "WARM_UP", 0)
    monkeypatch.setattr(speed, "MEASURED", 0)  # three steps at least
    seconds, steps, batches = 0.05, [], []

    def step(engine, images, labels):
        steps.append(tuple(images.shape))
        engine.step += 1
        time.sleep(seconds)
        return labels.sum()

    def predict(network, tiles, dtype, order):
        batches.append(len(order[0]))
        time.sleep(seconds)

    monkeypatch.setattr("histo.training.engine.Engine.train_step", step)
    monkeypatch.setattr(speed, "predict_logits", predict)
    found = speed._measure(shards, str(tmp_path / "folds.parquet"), settings(), None, 2, time.time())
    # Batches of 16 tiles; the 84 tiles of the other folds are predicted at once. One step warms up.
    assert steps == [(16, 3, 32, 32)] * 4
    assert batches == [84] * 4
    assert 0.2 * 16 / seconds < found.training <= 16 / seconds
    assert 0.2 * 84 / seconds < found.prediction <= 84 / seconds
    assert (found.invariant, found.at_once, found.start > 0, found.memory > 10**8) == (False, 2, True, True)
