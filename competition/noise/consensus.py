"""The label issues that one model finds, and those that several agree on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from competition.config.keys import AuditMethod
from competition.core.arrays import Array

_PAPER: AuditMethod = "prune_by_noise_rate"
_TINY = 1e-300  # keeps a posterior of nothing but zeros finite

# What rows are ranked by, a score of cleanlab where higher is better. The paper's method goes by
# the normalised margin: the probability of the given label minus the largest other one.
SCORES: dict[AuditMethod, str] = {
    "prune_by_noise_rate": "normalized_margin",
    "confident_learning": "normalized_margin",
    "both": "normalized_margin",
    "low_self_confidence": "self_confidence",
}


@dataclass(frozen=True)
class LabelIssues:
    """Flagged rows, and the order in which rows are suspect."""

    flagged: NDArray[np.bool_]  # (rows,)
    order: NDArray[np.int64]  # (rows,) positions of all rows, worst first


def find_label_issues(
    given: NDArray[np.int64], probabilities: Array, method: AuditMethod
) -> LabelIssues:
    """Return the issues that one model finds.

    Args:
        given: the label of each row as an index, `(rows,)`; rows that are equally bad are ranked as they come.
        probabilities: `(rows, labels)`.
        method: a filter of cleanlab; or `posterior`, which flags as many rows as the paper's method
            does, those whose given label is least probable to be the true one, see `posterior`.
    """
    from cleanlab.filter import find_label_issues as flag_by_filter
    from cleanlab.rank import get_label_quality_scores

    if method == "posterior":
        by_paper = flag_by_filter(given, probabilities, filter_by=_PAPER, n_jobs=1)
        count = int(by_paper.sum())
        order = np.argsort(posterior(given, probabilities), kind="stable")
        flagged = np.zeros(len(given), bool)
        flagged[order[:count]] = True
        return LabelIssues(flagged, order)

    flagged = flag_by_filter(given, probabilities, filter_by=method, n_jobs=1)
    score = get_label_quality_scores(given, probabilities, method=SCORES[method])
    return LabelIssues(flagged, np.argsort(score, kind="stable"))


def estimate_noise(given: NDArray[np.int64], probabilities: Array) -> tuple[Array, Array]:
    """Return the confident joint and the noise matrix, both `(given, true)`.

    The joint counts rows, the noise matrix holds shares of the true label's rows.
    """
    from cleanlab.count import compute_confident_joint, estimate_latent

    joint = compute_confident_joint(given, probabilities)
    _, noise, _ = estimate_latent(joint, given)
    return joint.astype(np.float64), noise


def posterior(given: NDArray[np.int64], probabilities: Array) -> Array:
    """Return the probability that the given label is the true one, knowing that it was given, `(rows,)`.

    By Bayes' rule, P(true | text, given) is proportional to P(given | true) P(true | text): an
    improbable label is the less credible the more often it is given to rows of the label that is
    probable. The first factor is the estimated noise matrix, the second the model's probability.
    """
    _, noise = estimate_noise(given, probabilities)
    joint = noise[given] * probabilities  # (rows, true labels), up to a factor of the row
    of_given = joint[np.arange(len(given)), given]
    return np.asarray(of_given / np.maximum(joint.sum(axis=1), _TINY), np.float64)


def combine_issues(models: Sequence[LabelIssues]) -> LabelIssues:
    """Return the rows that more than half of the models flag (of two, both), by the mean of their ranks.

    Ranks and not scores are averaged, since models differ in how sure they are of themselves; and
    they are ranks among all rows, so that a model has a say on rows that it does not flag.
    """
    if len(models) == 1:
        return models[0]

    votes = np.sum([issues.flagged for issues in models], axis=0)  # (rows,)
    ranks = np.zeros(len(votes), np.int64)  # (rows,) summed over the models
    for issues in models:
        ranks[issues.order] += np.arange(len(votes))
    return LabelIssues(votes * 2 > len(models), np.argsort(ranks, kind="stable"))
