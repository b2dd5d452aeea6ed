"""Means and proportions over clustered tiles, with intervals, and the bootstrap of clusters."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, t

from histo.statistics.clustered_auc import effective_degrees

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
Estimate = dict[str, float | None]  # value, low and high; None where it is undefined

BOOTSTRAPS = 200  # gives a standard error to 5 %


def estimate(value: float | None, low: float | None = None, high: float | None = None) -> Estimate:
    """Return the three numbers as plain floats; what is not finite is None."""
    numbers = {"value": value, "low": low, "high": high}
    return {name: float(number) if number is not None and np.isfinite(number) else None
            for name, number in numbers.items()}  # fmt: skip


def mean_error(values: Floats, clusters: Integers) -> tuple[float, float, float]:
    """Return the mean over tiles, its standard error and degrees of freedom; values, clusters: [N].

    The error is that of the jackknife of clusters around the mean (Efron and Tibshirani, An Introduction to the
    Bootstrap, 1993, chapter 11), NaN with fewer than two clusters.
    """
    mean = float(values.mean())
    number = np.unique(clusters, return_inverse=True)[1]
    sizes = np.bincount(number)
    count = len(sizes)
    if count < 2:
        return mean, float("nan"), 1.0
    deviations = np.bincount(number, values - mean) / (len(values) - sizes)
    error = float(np.sqrt((count - 1) / count * (deviations**2).sum()))
    return mean, error, effective_degrees(deviations, count - 1)


def clustered_mean(values: Floats, clusters: Integers) -> Estimate:
    """Return the mean over tiles with its 95 % confidence interval; values, clusters: [N]."""
    if not len(values):
        return estimate(None)
    mean, error, degrees = mean_error(values, clusters)
    spread = t.ppf(0.975, degrees) * error
    return estimate(mean, mean - spread, mean + spread)


def proportion(hits: npt.NDArray[np.bool_], clusters: Integers) -> Estimate:
    """Return the proportion of tiles that are hits with its 95 % confidence interval; hits, clusters: [N].

    Wilson's interval for as many independent tiles as have the variance of the clustered proportion (Dean and Pagano,
    Statistics in Medicine 34(15), 2015). For a proportion of 0 or 1 that is the number of clusters.
    """
    if not len(hits):
        return estimate(None)
    mean, error, degrees = mean_error(hits.astype(np.float64), clusters)
    count = len(np.unique(clusters))
    if count < 2:
        return estimate(mean)
    independent = mean * (1 - mean) / error**2 if error > 0 else float(count)
    quantile = float(t.ppf(0.975, degrees) if error > 0 else norm.ppf(0.975))
    return estimate(mean, *wilson(mean, independent, quantile))


def wilson(value: float, count: float, quantile: float) -> tuple[float, float]:
    """Return Wilson's interval of a proportion of `count` independent tiles (JASA 22(158), 1927)."""
    middle = (value + quantile**2 / (2 * count)) / (1 + quantile**2 / count)
    spread = quantile / (1 + quantile**2 / count) * np.sqrt(value * (1 - value) / count + quantile**2 / (4 * count**2))
    # At 0 and 1 rounding would miss the limit itself.
    return (
        0.0 if value == 0 else max(0.0, float(middle - spread)),
        1.0 if value == 1 else min(1.0, float(middle + spread)),
    )


def bootstrap(
    statistic: Callable[[Floats], Floats], clusters: Integers, strata: Integers, repeats: int = BOOTSTRAPS
) -> Floats:
    """Return `statistic` of bootstrap samples, [repeats, …].

    A sample draws as many clusters with replacement as there are, within each stratum (Davison and Hinkley, Bootstrap
    Methods and their Application, 1997, section 3.8). statistic: a function of the number of times that each tile was
    drawn, [N]; clusters, strata: int [N]. The samples are always the same.
    """
    random = np.random.default_rng(0)
    number = np.unique(clusters, return_inverse=True)[1]
    stratum_of = np.zeros(int(number.max()) + 1, int)
    stratum_of[number] = strata
    members = [np.flatnonzero(stratum_of == k) for k in np.unique(strata)]
    found = []
    for _ in range(repeats):
        drawn = np.concatenate([here[random.integers(len(here), size=len(here))] for here in members])
        found.append(statistic(np.bincount(drawn, minlength=len(stratum_of))[number].astype(np.float64)))
    return np.array(found)
