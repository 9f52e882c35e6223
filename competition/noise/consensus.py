"""What one model finds wrong, and what several agree on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from competition.config.keys import AuditMethod

Array = NDArray[np.float64]

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
    """Which rows are flagged, `(rows,)` bool, and all rows, worst first, `(rows,)`."""

    flagged: NDArray[np.bool_]
    order: NDArray[np.int64]


def find_label_issues(
    given: NDArray[np.int64], probabilities: Array, method: AuditMethod
) -> LabelIssues:
    """What one model finds.

    Args:
        given: indices into LABELS, `(rows,)`; rows that are equally bad are ranked as they come.
        probabilities: `(rows, 4)`.
        method: a filter of cleanlab; or `posterior`, which flags as many rows as the paper's method
            does, those whose given label is least probable to be the true one, see `posterior`.
    """
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    if method == "posterior":
        count = int(find_label_issues(given, probabilities, filter_by=_PAPER, n_jobs=1).sum())
        order = np.argsort(posterior(given, probabilities), kind="stable")
        flagged = np.zeros(len(given), bool)
        flagged[order[:count]] = True
        return LabelIssues(flagged, order)
    flagged = find_label_issues(given, probabilities, filter_by=method, n_jobs=1)
    score = get_label_quality_scores(given, probabilities, method=SCORES[method])
    return LabelIssues(flagged, np.argsort(score, kind="stable"))


def estimate_noise(given: NDArray[np.int64], probabilities: Array) -> tuple[Array, Array]:
    """The confident joint, in rows, and the noise matrix, shares of the true label's rows; both `(given, true)`."""
    from cleanlab.count import compute_confident_joint, estimate_latent

    joint = compute_confident_joint(given, probabilities)
    _, noise, _ = estimate_latent(joint, given)
    return joint.astype(np.float64), noise


def posterior(given: NDArray[np.int64], probabilities: Array) -> Array:
    """How probable the given label is the true one, knowing that it was given, `(rows,)`.

    By Bayes' rule, P(true | text, given) is proportional to P(given | true) P(true | text): an
    improbable label is the less credible the more often it is given to rows of the label that is
    probable. The first factor is the estimated noise matrix, the second what the model says.
    """
    _, noise = estimate_noise(given, probabilities)
    share = noise[given] * probabilities
    found: Array = share[np.arange(len(given)), given] / np.maximum(share.sum(axis=1), _TINY)
    return found


def combine_issues(findings: Sequence[LabelIssues]) -> LabelIssues:
    """Rows that more than half of the models flag (of two, both), by the mean of their ranks.

    Ranks and not scores are averaged, since models differ in how sure they are of themselves; and
    they are ranks among all rows, so that a model has a say on rows that it does not flag.
    """
    if len(findings) == 1:
        return findings[0]
    votes = np.sum([each.flagged for each in findings], axis=0)
    ranks = np.zeros(len(votes), np.int64)
    for each in findings:
        ranks[each.order] += np.arange(len(votes))
    return LabelIssues(votes * 2 > len(findings), np.argsort(ranks, kind="stable"))
