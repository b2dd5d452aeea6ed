"""The plain mean of several models, out-of-fold and on the test tiles."""

import numpy as np

from ensemble import ensemble, logit
from histo import tables
from histo.files import read_json
from test_predictions import FOLDS, written


def test_models_are_averaged(tmp_path):
    tables.write(FOLDS, tmp_path / "folds", tables.FOLDS)
    oof = {
        "one": [written(tmp_path / "a", "ab", 0, [0.0, 0.4]), written(tmp_path / "b", "cd", 1, [0.2, 0.9])],
        "two": [written(tmp_path / "c", "ab", 0, [0.2, 0.8]), written(tmp_path / "d", "cd", 1, [0.8, 1.0])],
    }
    test = {
        "one": [written(tmp_path / "e", "xy", 0, [0.1, 0.2]), written(tmp_path / "f", "xy", 1, [0.3, 0.4])],
        "two": [written(tmp_path / "g", "xy", 0, [0.5, 0.6]), written(tmp_path / "h", "xy", 1, [0.7, 0.8])],
    }
    out = [tmp_path / name for name in ("oof", "test", "json")]
    ensemble(oof, test, tmp_path / "folds", *out)
    blended = tables.read(out[0], tables.PREDICTIONS)
    assert blended["id"].tolist() == list("abcd")
    np.testing.assert_allclose(blended["probability"], [0.1, 0.6, 0.5, 0.95])
    np.testing.assert_allclose(1 / (1 + np.exp(-blended["logit"])), blended["probability"], rtol=1e-5)
    tiles = tables.read(out[1], tables.PREDICTIONS)
    np.testing.assert_allclose(tiles["probability"], [0.4, 0.5])
    figures = read_json(out[2])
    assert (figures["models"], figures["auc"]) == (["one", "two"], 1.0)


def test_logits_of_certain_tiles_are_finite():
    assert np.isfinite(logit(np.array([0.0, 1.0, 1e-300]))).all()
