"""Which labels do the models contradict (Northcutt et al. 2021, Confident Learning, by cleanlab)?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.config.keys import AuditKeys
from competition.core.errors import CompError, pluralize
from competition.noise.calibration import calibrate
from competition.noise.consensus import (
    LabelIssues,
    combine_issues,
    estimate_noise,
    find_label_issues,
)
from competition.noise.quotas import within_quota
from competition.scoring.predictions import check_outputs
from competition.scoring.tasks import KINDS, LABELS, label_codes

Array = NDArray[np.float64]
_OUTPUTS = list(KINDS["classes"].outputs)
MAX_SHARE_OF_LABEL = 0.25  # the share of a label's rows that an audit may drop without a doubt
_FLAGS = {  # the columns of an audit's flags
    "example_id": "int64", "given": "str", "suggested": "str", "quality": "float64", "confidence": "float64",
    "rank": "Int64", "dropped": "bool",
}  # fmt: skip


@dataclass(frozen=True)
class Audit:
    """What an audit finds.

    `flags` has a row per audited example, sorted by example_id: example_id, given, suggested (the
    most probable label), quality and confidence (the mean probabilities 0..1 of these two), rank (1
    is the worst; null where not flagged), dropped (whether the quotas let training leave it out).
    The matrices are in the order of LABELS.
    """

    flags: pd.DataFrame
    joint: (
        Array  # (given, true) the confident joint: an estimate of how many rows have these labels
    )
    noise: Array  # (given, true) the estimated share of the rows of a true label that are given this one
    temperatures: list[dict[int, float]]  # per model, by fold; empty unless calibrated
    doubts: list[
        str
    ]  # why the models may know too little; then nothing is dropped unless the keys overrule it

    @classmethod
    def skipped(cls) -> "Audit":
        """Return the audit of no row."""
        flags = pd.DataFrame({name: pd.Series([], dtype=of) for name, of in _FLAGS.items()})
        nothing = np.zeros((len(LABELS), len(LABELS)))
        return cls(flags, nothing, nothing, [], [])


class CannotAudit(CompError):
    """The rows lack a label, from a fold or at all."""


def audit_labels(
    outputs: Sequence[pd.DataFrame], examples: pd.DataFrame, fold: pd.Series, keys: AuditKeys
) -> Audit:
    """Audit the labels of rows that every model predicts.

    Several models agree on a row by majority, see `consensus.py`.

    Args:
        outputs: per model, example_id and out-of-fold probabilities of the four classes.
        examples: rows with example_id, label and locale; those without a label are not audited.
        fold: of each row to be audited, by example_id; others are left out.
        keys: how.

    Raises:
        CompError: probabilities are not finite or do not sum to 1.
        CannotAudit: a label is missing, from a fold or at all.
    """
    for number, each in enumerate(outputs):
        check_outputs(each, "classes", f"The probabilities of model {number + 1}")
    rows, probabilities = _join(outputs, examples, fold)
    given = label_codes(rows["label"])
    of_fold = fold.loc[rows["example_id"]].to_numpy(np.int64)
    if (reason := missing_label(given, of_fold, np.unique(fold))) is not None:
        raise CannotAudit(reason)
    temperatures: list[dict[int, float]] = []
    if keys.calibrated:
        found = [calibrate(each, given, of_fold) for each in probabilities]
        probabilities, temperatures = [each for each, _ in found], [each for _, each in found]
    findings: LabelIssues = combine_issues(
        [find_label_issues(given, each, keys.method) for each in probabilities]
    )
    worst = findings.order[findings.flagged[findings.order]]
    rank = np.zeros(len(rows), np.int64)
    rank[worst] = np.arange(1, len(worst) + 1)
    mean = np.mean(probabilities, axis=0)
    joint, noise = estimate_noise(given, mean)
    dropped = within_quota(worst, rows["label"], rows["locale"], keys)
    doubts = _doubts(given, dropped, mean)
    flags = pd.DataFrame(
        {
            "example_id": rows["example_id"],
            "given": rows["label"],
            "suggested": np.array(LABELS)[mean.argmax(axis=1)],
            "quality": mean[np.arange(len(rows)), given],
            "confidence": mean.max(axis=1),
            "rank": pd.Series(rank).astype("Int64").mask(rank == 0),
            "dropped": dropped & (keys.despite_doubts or not doubts),
        }
    )
    return Audit(flags, joint, noise, temperatures, doubts)


def _doubts(
    given: NDArray[np.int64], dropped: NDArray[np.bool_], probabilities: Array
) -> list[str]:
    """Say what speaks against an audit: a label that would lose much of its rows, models no better than one answer.

    Args:
        given: the label of each row, `(rows,)`.
        dropped: which would be dropped, `(rows,)`.
        probabilities: the mean of the models, `(rows, 4)`.
    """
    said = []
    for code, label in enumerate(LABELS):
        rows, lost = int((given == code).sum()), int(dropped[given == code].sum())
        if lost > MAX_SHARE_OF_LABEL * rows:
            said.append(f"{lost:,} of {pluralize(rows, 'row')} labelled {label!r} would be dropped")
    right, most = (
        (probabilities.argmax(axis=1) == given).mean(),
        np.bincount(given).max() / len(given),
    )
    if right <= most:
        said.append(
            f"the audited models are right on {right:.1%} of the rows, one answer for all on {most:.1%}"
        )
    return said


def missing_label(
    given: NDArray[np.int64], fold: NDArray[np.int64], folds: NDArray[np.int64]
) -> str | None:
    """Return why labels cannot be audited: one is missing, from a fold or at all; None where they can be.

    Its noise rate and its threshold are estimated from its own rows.

    Args:
        given: indices into LABELS of the rows, `(rows,)`.
        fold: of each row.
        folds: that there are.
    """
    present = np.unique(given)
    if len(present) < 2:
        said = (
            f"Every audited row is labelled {LABELS[present[0]]!r}"
            if len(present)
            else "No row is audited"
        )
        return f"{said}: an audit needs rows of every label."
    for code, label in enumerate(LABELS):
        of_label = given == code
        if not of_label.any():
            return f"No audited row is labelled {label!r}: an audit needs rows of every label."
        absent = np.setdiff1d(folds, fold[of_label])
        if len(absent):
            return (
                f"No audited row of fold {absent[0]} is labelled {label!r}: an audit needs rows of every label in "
                "every fold."
            )
    return None


def _join(
    outputs: Sequence[pd.DataFrame], examples: pd.DataFrame, fold: pd.Series
) -> tuple[pd.DataFrame, list[Array]]:
    """The audited rows, sorted by example_id, and each model's probabilities of them, `(rows, 4)`."""
    audited = examples["label"].notna() & examples["example_id"].isin(fold.index)
    for each in outputs:
        audited &= examples["example_id"].isin(each["example_id"])
    rows = examples.loc[audited, ["example_id", "label", "locale"]].sort_values(
        "example_id", ignore_index=True
    )
    by_id = (each.set_index("example_id")[_OUTPUTS] for each in outputs)
    return rows, [each.loc[rows["example_id"]].to_numpy(np.float64) for each in by_id]
