"""Find the labels that models contradict: confident learning (Northcutt et al. 2021), by cleanlab.

Which rows are flagged is decided in `consensus.py`, how many of them may be dropped in `quotas.py`,
and what training does about them in `actions.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.config.keys import AuditKeys
from competition.core.arrays import Array
from competition.core.errors import CompError, pluralize
from competition.noise.calibration import calibrate
from competition.noise.consensus import combine_issues, estimate_noise, find_label_issues
from competition.noise.quotas import within_quota
from competition.scoring.predictions import check_outputs
from competition.scoring.task import Kind

# The share of a label's rows that an audit may drop without a doubt.
MAX_SHARE_OF_LABEL = 0.25

# The columns of an audit's flags.
_FLAGS = {
    "example_id": "int64",
    "given": "str",
    "suggested": "str",
    "quality": "float64",
    "confidence": "float64",
    "rank": "Int64",
    "dropped": "bool",
}


@dataclass(frozen=True)
class Audit:
    """The flags of an audit, and the estimates behind them; matrices are in the order of the labels.

    Attributes:
        flags: a row per audited example, sorted by example_id: example_id, given, suggested (the
            most probable label), quality and confidence (the mean probabilities 0..1 of these two),
            rank (1 is the worst; null where not flagged), dropped (whether training may leave it
            out).
        joint: the confident joint, `(given, true)`: an estimate of how many rows have these labels.
        noise: `(given, true)`, the estimated share of the rows of a true label that are given this
            one.
        temperatures: per model, by fold; empty unless calibrated.
        doubts: why the models may know too little; then nothing is dropped unless the keys overrule
            it.
    """

    flags: pd.DataFrame
    joint: Array
    noise: Array
    temperatures: list[dict[int, float]]
    doubts: list[str]

    @classmethod
    def skipped(cls, labels: int) -> "Audit":
        """Return the audit of no row, where there are so many labels."""
        flags = pd.DataFrame({name: pd.Series([], dtype=dtype) for name, dtype in _FLAGS.items()})
        empty = np.zeros((labels, labels))
        return cls(flags, empty, empty, [], [])


class CannotAudit(CompError):
    """The rows lack a label, from a fold or at all."""


def audit_labels(
    outputs: Sequence[pd.DataFrame],
    kind: Kind,
    examples: pd.DataFrame,
    fold: pd.Series,
    keys: AuditKeys,
) -> Audit:
    """Audit the labels of rows that every model predicts.

    Several models agree on a row by majority, see `consensus.py`.

    Args:
        outputs: per model, example_id and out-of-fold probabilities of all labels.
        kind: of the outputs, `classes`.
        examples: rows with example_id, label and locale; those without a label are not audited.
        fold: of each row to be audited, by example_id; others are left out.
        keys: the method and how much it may drop.

    Raises:
        CompError: probabilities are not finite or do not sum to 1.
        CannotAudit: a label is missing, from a fold or at all.
    """
    for number, frame in enumerate(outputs):
        check_outputs(frame, kind, f"The probabilities of model {number + 1}")
    rows, probabilities = _join(outputs, kind, examples, fold)
    labels = kind.labels
    given = labels.codes(rows["label"])  # (rows,)
    fold_of_row = fold.loc[rows["example_id"]].to_numpy(np.int64)  # (rows,)
    if (reason := missing_label(given, labels.names, fold_of_row, np.unique(fold))) is not None:
        raise CannotAudit(reason)

    temperatures: list[dict[int, float]] = []
    if keys.calibrated:
        calibrated = [calibrate(p, given, fold_of_row) for p in probabilities]
        probabilities = [scaled for scaled, _ in calibrated]
        temperatures = [by_fold for _, by_fold in calibrated]

    # Positions of the flagged rows, worst first, as far as the models agree on them.
    issues = combine_issues([find_label_issues(given, p, keys.method) for p in probabilities])
    worst = issues.order[issues.flagged[issues.order]]
    rank = np.zeros(len(rows), np.int64)  # (rows,) 0 where not flagged
    rank[worst] = np.arange(1, len(worst) + 1)

    mean = np.mean(probabilities, axis=0)  # (rows, labels)
    joint, noise = estimate_noise(given, mean)
    dropped = within_quota(worst, rows["label"], rows["locale"], keys)
    doubts = _doubts(given, labels.names, dropped, mean)

    flags = pd.DataFrame(
        {
            "example_id": rows["example_id"],
            "given": rows["label"],
            "suggested": np.array(labels.names)[mean.argmax(axis=1)],
            "quality": mean[np.arange(len(rows)), given],
            "confidence": mean.max(axis=1),
            "rank": pd.Series(rank).astype("Int64").mask(rank == 0),
            "dropped": dropped & (keys.despite_doubts or not doubts),
        }
    )
    return Audit(flags, joint, noise, temperatures, doubts)


def _join(
    outputs: Sequence[pd.DataFrame], kind: Kind, examples: pd.DataFrame, fold: pd.Series
) -> tuple[pd.DataFrame, list[Array]]:
    """Return the audited rows, sorted by example_id, and each model's probabilities of them, `(rows, labels)`."""
    audited = examples["label"].notna() & examples["example_id"].isin(fold.index)
    for frame in outputs:
        audited &= examples["example_id"].isin(frame["example_id"])
    rows = examples.loc[audited, ["example_id", "label", "locale"]].sort_values(
        "example_id", ignore_index=True
    )

    probabilities = []
    for frame in outputs:
        by_id = frame.set_index("example_id")
        probabilities.append(kind.values(by_id.loc[rows["example_id"]]))
    return rows, probabilities


def missing_label(
    given: NDArray[np.int64],
    labels: Sequence[str],
    fold: NDArray[np.int64],
    folds: NDArray[np.int64],
) -> str | None:
    """Return why labels cannot be audited: one is missing, from a fold or at all; None where they can be.

    A label's noise rate and threshold are estimated from its own rows.

    Args:
        given: the label of each row as an index into `labels`, `(rows,)`.
        labels: their names.
        fold: of each row.
        folds: that there are.
    """
    present = np.unique(given)
    if not len(present):
        return "No row is audited: an audit needs rows of every label."
    if len(present) == 1:
        only = labels[present[0]]
        return f"Every audited row is labelled {only!r}: an audit needs rows of every label."

    for code, label in enumerate(labels):
        if code not in present:
            return f"No audited row is labelled {label!r}: an audit needs rows of every label."
        absent = np.setdiff1d(folds, fold[given == code])
        if len(absent):
            return (
                f"No audited row of fold {absent[0]} is labelled {label!r}: an audit needs rows of every label in "
                "every fold."
            )
    return None


def _doubts(
    given: NDArray[np.int64],
    labels: Sequence[str],
    dropped: NDArray[np.bool_],
    probabilities: Array,
) -> list[str]:
    """Return what speaks against an audit.

    That is a label that would lose much of its rows, or models no better than a constant answer.

    Args:
        given: the label of each row as an index into `labels`, `(rows,)`.
        labels: their names.
        dropped: which would be dropped, `(rows,)`.
        probabilities: the mean of the models, `(rows, labels)`.
    """
    doubts = []
    for code, label in enumerate(labels):
        rows = int((given == code).sum())
        lost = int(dropped[given == code].sum())
        if lost > MAX_SHARE_OF_LABEL * rows:
            doubts.append(
                f"{lost:,} of {pluralize(rows, 'row')} labelled {label!r} would be dropped"
            )

    right = (probabilities.argmax(axis=1) == given).mean()
    majority = np.bincount(given).max() / len(given)
    if right <= majority:
        doubts.append(
            f"the audited models are right on {right:.1%} of the rows, one answer for all on {majority:.1%}"
        )
    return doubts
