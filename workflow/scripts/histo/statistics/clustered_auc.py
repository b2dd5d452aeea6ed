"""The AUC of clustered data: variance, intervals and differences between models.

The variance is Obuchowski's (Biometrics 53(2), 1997) for clusters of tiles that may hold both classes, with one change:
the placements of a cluster are compared with those of the other clusters, as in a jackknife (Mancl and DeRouen,
Biometrics 57(1), 2001), and not with those of all. For clusters with equal numbers of tiles of each class both are
equal; for few clusters of unequal size, Obuchowski's is too small. With clusters of one tile it is the variance of
DeLong, DeLong and Clarke-Pearson (Biometrics 44(3), 1988). The placements are computed from ranks (Sun and Xu, IEEE
Signal Processing Letters 21(11), 2014), in O(N log N).

The stratified AUC is the mean of the AUCs within the strata. With folds as strata it compares only predictions of the
same network: out-of-fold, each fold is predicted by another network, and networks may be calibrated differently.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import norm, rankdata, t

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Difference:
    """A difference between two AUCs, with its interval and the two-sided p value of no difference."""

    value: float
    low: float
    high: float
    p: float
    statistic: float  # difference / standard error; NaN without a standard error


@dataclass(frozen=True)
class AucEstimate:
    """The AUCs of M models on the same tiles.

    values: [M]; by_stratum: [strata, M]; covariance: [M, M]; degrees: degrees of freedom of the variances [M];
    positive_clusters, negative_clusters: clusters with tiles of that class; contributions: deviations of the clusters,
    [clusters, M], whose products sum up to about the covariance.
    """

    values: Floats
    by_stratum: Floats
    covariance: Floats
    degrees: Floats
    positive_clusters: int
    negative_clusters: int
    contributions: Floats

    def error(self, model: int = 0) -> float:
        """Return the standard error of a model's AUC."""
        return float(np.sqrt(max(self.covariance[model, model], 0.0)))

    def interval(self, model: int = 0, confidence: float = 0.95) -> tuple[float, float]:
        """Return the confidence interval of a model's AUC, that of `bounded_interval`.

        If the standard error is 0, as at an AUC of 1, the interval is `score_interval` with clusters in place of tiles.
        """
        value, error = float(self.values[model]), self.error(model)
        if error == 0 or not 0 < value < 1:
            return score_interval(value, self.positive_clusters, self.negative_clusters, confidence)
        return bounded_interval(value, error, float(self.degrees[model]), confidence)

    def difference(self, first: int, second: int, confidence: float = 0.95) -> Difference:
        """Return the AUC of model `first` minus that of model `second`, paired by cluster."""
        value = float(self.values[first] - self.values[second])
        c = self.covariance
        variance = float(c[first, first] + c[second, second] - 2 * c[first, second])
        deviations = self.contributions[:, first] - self.contributions[:, second]
        if variance <= 1e-18 or not deviations.any():  # rounding aside, the models rank all tiles alike
            return Difference(value, value, value, 1.0, float("nan"))
        error = variance**0.5
        degrees = effective_degrees(deviations, float(self.degrees.max()))
        spread = float(t.ppf((1 + confidence) / 2, degrees)) * error
        return Difference(
            value, value - spread, value + spread, float(2 * t.sf(abs(value) / error, degrees)), value / error
        )


def placements(labels: npt.NDArray[np.integer], scores: Floats) -> tuple[float, Floats]:
    """Return the AUC and the placement of each tile [N]; labels: 0 or 1 [N]; scores: [N].

    The placement of a positive tile is the proportion of negative tiles with a lower score, that of a negative tile the
    proportion of positive tiles with a higher score; equal scores count one half. Raises ValueError unless both classes
    are present.
    """
    positive = labels == 1
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        raise ValueError(f"The AUC needs labels of both classes, found {np.unique(labels).tolist()}.")
    ranks = rankdata(scores)
    found = np.empty(len(labels))
    found[positive] = (ranks[positive] - rankdata(scores[positive])) / n
    found[~positive] = 1 - (ranks[~positive] - rankdata(scores[~positive])) / m
    return float(found[positive].mean()), found


def effective_degrees(deviations: Floats, highest: float) -> float:
    """Return the degrees of freedom of the variance Σ d² of independent deviations d, at least 1, at most `highest`.

    Satterthwaite (Biometrics Bulletin 2(6), 1946): (Σ σ²)² / Σ σ⁴, where Σ d⁴ / 3 estimates Σ σ⁴ of normal deviations.
    A few clusters that dominate the variance give few degrees of freedom.
    """
    squares = deviations**2
    return float(np.clip(3 * squares.sum() ** 2 / np.maximum((squares**2).sum(), 1e-300), 1.0, max(highest, 1.0)))


def stratified_auc(
    labels: npt.NDArray[np.integer],
    scores: Floats,
    clusters: npt.NDArray[np.integer] | None = None,
    strata: npt.NDArray[np.integer] | None = None,
) -> AucEstimate:
    """Return the mean over strata of the AUC within each stratum, of each model.

    labels: 0 or 1 [N]; scores: [N] or [N, M] of M models; clusters: int [N], None for clusters of one tile; strata: int
    [N], None for one stratum, whose AUC is then the pooled one. The variance within a stratum that has only one cluster
    with tiles of a class cannot be estimated from clusters; it is that of `score_variance`. Raises ValueError if a
    stratum lacks a class or a cluster is in several strata.
    """
    scores = scores.reshape(len(labels), -1)
    models = scores.shape[1]
    clusters = np.arange(len(labels)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    strata = np.zeros(len(labels), int) if strata is None else np.unique(strata, return_inverse=True)[1]
    count, weight = int(strata.max()) + 1, 1 / (int(strata.max()) + 1)
    stratum_of = np.zeros(int(clusters.max()) + 1, int)
    stratum_of[clusters] = strata
    if (stratum_of[clusters] != strata).any():
        raise ValueError("A cluster has tiles in several strata.")

    by_stratum = np.empty((count, models))
    covariance, contributions = np.zeros((models, models)), np.zeros((len(stratum_of), models))
    positive_clusters = negative_clusters = 0
    for k in range(count):
        rows = strata == k
        part, here = labels[rows], np.flatnonzero(stratum_of == k)
        cluster = np.searchsorted(here, clusters[rows])
        sizes = [np.bincount(cluster[part == value], minlength=len(here)) for value in (1, 0)]
        sums = np.empty((2, len(here), models))
        for model in range(models):
            by_stratum[k, model], placed = placements(part, scores[rows, model])
            for which, value in enumerate((1, 0)):
                own = part == value
                total = np.bincount(cluster[own], placed[own], len(here))
                others = np.maximum(sizes[which].sum() - sizes[which], 1)  # 0 only where there is one cluster
                sums[which, :, model] = (total - sizes[which] * by_stratum[k, model]) / others
        numbers = [int((size > 0).sum()) for size in sizes]
        positive_clusters, negative_clusters = positive_clusters + numbers[0], negative_clusters + numbers[1]
        contributions[here] = weight * sums.sum(axis=0)
        if min(numbers) < 2:
            errors = [score_variance(float(value), *numbers) ** 0.5 for value in by_stratum[k]]
            covariance += weight**2 * np.outer(errors, errors) * _correlation(sums.sum(axis=0))
            continue
        above, below = (
            (number - 1) / number * part_sums.T @ part_sums for number, part_sums in zip(numbers, sums, strict=True)
        )
        both = sums[0].T @ sums[1] * (len(here) - 1) / len(here)
        covariance += weight**2 * (above + below + both + both.T)
    degrees = np.array([effective_degrees(row, len(stratum_of) - count) for row in contributions.T])
    return AucEstimate(
        by_stratum.mean(axis=0), by_stratum, covariance, degrees, positive_clusters, negative_clusters, contributions
    )


def _correlation(deviations: Floats) -> Floats:
    """Return the correlation of the columns of deviations [clusters, M], uncentred; 1 for a column of zeros."""
    norms = np.sqrt((deviations**2).sum(axis=0))
    norms[norms == 0] = 1
    found: Floats = deviations.T @ deviations / np.outer(norms, norms)
    np.fill_diagonal(found, 1.0)
    return found


def bounded_interval(value: float, error: float, degrees: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return the confidence interval of a value between 0 and 1, exclusive, with quantiles of t.

    It is computed on the scale of Mosteller and Tukey's folded powers (Data Analysis and Regression, 1977) with the
    exponent -1/3, f(x) = (1 - x)^(-1/3) - x^(-1/3), and is that of the logit scale where the error is small. Few
    clusters determine the error of an AUC near 1, so an estimate that is too high has an error that is too small: on
    the logit scale the truth is below 6 to 8 % of the nominal 95 % intervals of 30 slides at an AUC of 0.97 and more,
    on this one below 4 to 5 %.
    """

    def folded(log_odds: float) -> float:
        return float(expit(-log_odds) ** (-1 / 3) - expit(log_odds) ** (-1 / 3))

    middle = float(np.log(value / (1 - value)))
    slope = ((1 - value) ** (-4 / 3) + value ** (-4 / 3)) / 3
    spread = float(t.ppf((1 + confidence) / 2, degrees)) * error * slope
    low, high = (
        brentq(lambda x, place=place: folded(x) - place, -600, 600)
        for place in (folded(middle) - spread, folded(middle) + spread)
    )
    return float(expit(low)), float(expit(high))


def score_variance(value: float, positives: int, negatives: int) -> float:
    """Return the variance of an AUC by its value and the numbers of independent positive and negative cases alone.

    Method 5 of Newcombe (Statistics in Medicine 25(4), 2006): the variance of Hanley and McNeil with the mean of both
    numbers in place of each.
    """
    mean = (positives + negatives) / 2 - 1
    shape = 1 + mean * ((1 - value) / (2 - value) + value / (1 + value))
    return float(value * (1 - value) * shape / (positives * negatives))


def score_interval(value: float, positives: int, negatives: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the confidence interval of an AUC by its value and the numbers of independent cases alone.

    The limits are the AUCs whose `score_variance` makes `value` just compatible with them, as in Wilson's interval of a
    proportion (Newcombe 2006, method 5). Its width is positive for an AUC of 0 or 1 too.
    """
    quantile = norm.ppf((1 + confidence) / 2)

    def excess(limit: float) -> float:
        return float(abs(value - limit) - quantile * score_variance(limit, positives, negatives) ** 0.5)

    tiny = 1e-9  # `value` itself is compatible with every limit, so it is no bracket of the root at 0 and 1
    low = brentq(excess, 0.0, value - tiny) if value > tiny else 0.0
    high = brentq(excess, value + tiny, 1.0) if value < 1 - tiny else 1.0
    return float(low), float(high)


def holm(p_values: list[float]) -> list[float]:
    """Return p values adjusted for multiple tests (Holm, Scandinavian Journal of Statistics 6(2), 1979)."""
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty(len(p_values))
    highest = 0.0
    for rank, k in enumerate(order):
        highest = max(highest, min(1.0, p_values[k] * (len(p_values) - rank)))
        adjusted[k] = highest
    return adjusted.tolist()
