"""Whether probabilities are what they say: calibration error, logistic recalibration, temperature."""

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.stats import t

from histo.logits import sigmoid
from histo.statistics.clustered_auc import effective_degrees
from histo.statistics.clustered_means import Estimate, bootstrap, estimate

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]

BINS = 10  # of equally many tiles
FLOOR = 1e-15  # of a probability, so that the logarithm of the likelihood is finite
STEPS = 50  # of Newton's method
LARGEST = 1e3  # coefficient; larger ones mean that the classes are separated and the likelihood has no maximum


def log_losses(labels: Integers, probabilities: Floats) -> Floats:
    """Return the negative logarithm of the likelihood of each label, [N]; labels: 0 or 1 [N]; probabilities: [N]."""
    likelihood = np.where(labels == 1, probabilities, 1 - probabilities)
    return np.asarray(-np.log(np.maximum(likelihood, FLOOR)))


def calibration_bins(probabilities: Floats) -> npt.NDArray[np.int64]:
    """Return the bin of each tile, 0 to `BINS` - 1 by rising probability, int64 [N]; bins have equally many tiles."""
    bins = np.empty(len(probabilities), np.int64)
    for k, rows in enumerate(np.array_split(np.argsort(probabilities, kind="stable"), min(BINS, len(probabilities)))):
        bins[rows] = k
    return bins


def calibration_error(labels: Integers, probabilities: Floats, clusters: Integers, strata: Integers) -> Estimate:
    """Return the expected calibration error with its 95 % interval, from the standard error of the cluster bootstrap.

    The mean over tiles of |mean probability - proportion of positives| in `BINS` bins of equally many tiles (Naeini et
    al., AAAI 2015; equal numbers: Nixon et al., CVPR workshops 2019). It is above 0 by chance even for calibrated
    probabilities. labels: 0 or 1 [N]; probabilities: [N]; clusters, strata: int [N], see `bootstrap`.
    """
    bins = calibration_bins(probabilities)
    residuals = probabilities - labels

    def error(weights: Floats) -> Floats:
        return np.asarray(np.abs(np.bincount(bins, weights * residuals)).sum() / weights.sum())

    value = float(error(np.ones(len(labels))))
    spread = 1.96 * float(bootstrap(error, clusters, strata).std(ddof=1))
    return estimate(value, max(0.0, value - spread), min(1.0, value + spread))


def logistic_recalibration(labels: Integers, logits: Floats, clusters: Integers) -> dict[str, Estimate]:
    """Return slope and intercept of the logistic regression of the labels on the logits, with 95 % intervals.

    slope: 1 if calibrated; below 1 if the probabilities are too extreme. intercept: of the regression with slope 1; 0
    if calibrated, negative if the probabilities are too high on average (Cox, Biometrika 45(3/4), 1958; Van Calster et
    al., Journal of Clinical Epidemiology 74, 2016). The intervals use the sandwich variance of clusters (Liang and
    Zeger, Biometrika 73(1), 1986). Values are None where the classes are separated. labels: 0 or 1 [N]; logits: [N];
    clusters: int [N].
    """
    ones = np.ones(len(labels))
    slope = _logistic(np.stack([ones, logits], axis=1), np.zeros(len(labels)), labels, clusters)
    intercept = _logistic(ones[:, None], logits, labels, clusters)
    return {
        "slope": slope[-1] if slope else estimate(None),
        "intercept": intercept[0] if intercept else estimate(None),
    }


def _logistic(inputs: Floats, offset: Floats, labels: Integers, clusters: Integers) -> list[Estimate] | None:
    """Return the coefficients of a logistic regression, by Newton's method; None without a maximum."""
    coefficients = np.zeros(inputs.shape[1])

    def loss(values: Floats) -> float:
        scores = offset + inputs @ values
        return float((np.logaddexp(0, scores) - labels * scores).mean())

    for _ in range(STEPS):
        p = sigmoid(offset + inputs @ coefficients)
        gradient = inputs.T @ (labels - p) / len(labels)
        information = (inputs * (p * (1 - p))[:, None]).T @ inputs / len(labels)
        if not np.isfinite(information).all() or np.linalg.cond(information) > 1e12:
            return None
        step = np.linalg.solve(information, gradient)
        size, before = 1.0, loss(coefficients)
        while loss(coefficients + size * step) > before and size > 1e-6:
            size /= 2
        coefficients = coefficients + size * step
        if np.abs(coefficients).max() > LARGEST:
            return None
        if np.abs(step).max() < 1e-9:
            break
    else:
        return None
    number = np.unique(clusters, return_inverse=True)[1]
    residuals = labels - sigmoid(offset + inputs @ coefficients)
    sums = np.stack([np.bincount(number, residuals * column) for column in inputs.T], axis=1)
    count = len(sums)
    if count < 2:
        return [estimate(float(value)) for value in coefficients]
    deviations = sums @ np.linalg.inv(information * len(labels))
    found = []
    for value, own in zip(coefficients, deviations.T, strict=True):
        error = float(np.sqrt(count / (count - 1) * (own**2).sum()))
        spread = float(t.ppf(0.975, effective_degrees(own, count - 1))) * error
        found.append(estimate(float(value), float(value) - spread, float(value) + spread))
    return found


def fit_temperature(labels: Integers, logits: Floats) -> float:
    """Return the temperature by which dividing the logits minimises the log loss (Guo et al., ICML 2017).

    labels: 0 or 1 [N]; logits: [N]. The result is between 0.01 and 100.
    """

    def loss(log_inverse: float) -> float:
        scores = logits * np.exp(log_inverse)
        return float((np.logaddexp(0, scores) - labels * scores).mean())

    limit = float(np.log(100))
    return float(np.exp(-minimize_scalar(loss, bounds=(-limit, limit), method="bounded").x))


def temperature_out_of_fold(labels: Integers, logits: Floats, folds: Integers) -> tuple[float, Floats]:
    """Return the temperature of all tiles, and each tile's probability with the temperature fitted to the other folds.

    labels: 0 or 1 [N]; logits: [N]; folds: int [N], of which there are at least two.
    """
    scaled = np.empty(len(labels))
    for k in np.unique(folds):
        scaled[folds == k] = logits[folds == k] / fit_temperature(labels[folds != k], logits[folds != k])
    return fit_temperature(labels, logits), sigmoid(scaled)
