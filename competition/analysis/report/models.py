"""The sections about models: how they err, how sure they are, where they disagree, what ensembles take of them."""

import numpy as np
import pandas as pd

from competition.analysis.ensemble_study import mean_importance, mean_weights
from competition.analysis.report import charts
from competition.analysis.report.blocks import (
    Block,
    Figure,
    Matrix,
    MatrixCell,
    Multiples,
    Note,
    Section,
    tint,
)
from competition.analysis.report.evidence import Evidence
from competition.analysis.report.reliability import (
    Reliability,
    agreement,
    confusion_matrix,
    disagreement,
    first_products,
    reliability,
)
from competition.core.errors import pluralize
from competition.core.json_files import read_json
from competition.scoring.evaluation import MOVABLE, Counts
from competition.scoring.metrics import Array
from competition.scoring.tasks import KINDS, Task, answers, gains, truth

FEATURES = 15  # of an ensemble that are shown


def _classifiers(evidence: Evidence) -> list[Task]:
    return [task for task in evidence.tasks if task.classes]


def _no_classifier() -> list[Block]:
    return [Note("No complete run answers task2 or task3.", "comp run")]


# --- confusion
# ---------------------------------------------------------------------------------------------------


def confusions(evidence: Evidence) -> Section:
    """What was answered to rows of each label, per run."""
    blocks: list[Block] = []
    for task in _classifiers(evidence):
        rows = evidence.rows(task)
        codes = truth(task, rows)
        items = []
        for run in evidence.counts(task):
            answered = answers(task, evidence.runs[run].kind, evidence.outputs(task, run)).astype(
                np.int64
            )
            items.append(
                _confusion(task, run, confusion_matrix(codes, answered, len(task.classes)))
            )
        blocks.append(Multiples(task.name, items))
    lead = (
        "Rows are the labels, columns the answers: the share of a label's rows, and their number."
    )
    return Section("confusion", "Confusion", lead, blocks or _no_classifier())


def _confusion(task: Task, run: str, counts: np.ndarray) -> Matrix:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    rows = [
        (
            name,
            [
                MatrixCell(f"{share:.0%}", f"{n:,}", tint(share, 1.0))
                for share, n in zip(shares[i], counts[i], strict=True)
            ],
        )
        for i, name in enumerate(task.classes)
    ]
    return Matrix(
        run, "label", task.classes, rows, f"{counts.trace():,} of {counts.sum():,} rows right"
    )


# --- calibration
# -------------------------------------------------------------------------------------------------


def calibrations(evidence: Evidence) -> Section:
    """How what runs expect compares with what happens."""
    blocks: list[Block] = []
    for task in evidence.tasks:
        items = []
        for run in evidence.counts(task):
            kind = evidence.runs[run].kind
            if KINDS[kind].primary == task.name and kind != "score":
                items.append(
                    _calibration(task, run, expectation(task, kind, evidence.outputs(task, run)))
                )
        if items:
            blocks.append(
                Multiples(
                    f"{task.name}: {_AXES[task.name][0]} against {_AXES[task.name][1]}", items
                )
            )
    lead = (
        "Rows in ten bins of equal size by what the run expects. On the dashed line, what is expected is what happens; "
        "below it, the run is too sure of itself. Scores of task 1 ensembles promise nothing and are left out."
    )
    return Section(
        "calibration",
        "Calibration",
        lead,
        blocks or [Note("No complete run gives probabilities.", "comp run")],
    )


_AXES = {
    "task1": ("expected gain", "mean gain"),
    "task2": ("probability of the answer", "share that is right"),
    "task3": ("probability of substitute", "share that is substitute"),
}


def expectation(task: Task, kind: str, rows: pd.DataFrame) -> tuple[Array, Array]:
    """What a run expects of each row and what happens, both `(rows,)`; see `_AXES`."""
    values = rows[list(KINDS[kind].outputs)].to_numpy(np.float64)
    if task.name == "task1":
        return values[:, 0], gains(rows["label"])
    codes = truth(task, rows)
    if task.name == "task3":
        return values[:, 0], codes.astype(np.float64)
    return values.max(axis=1), (answers(task, kind, rows) == codes).astype(np.float64)


def _calibration(task: Task, run: str, rows: tuple[Array, Array]) -> Figure:
    bins: Reliability = reliability(*rows)
    svg = charts.plot_calibration(f"calibration-{task.name}-{run}", bins, *_AXES[task.name])
    pairs = ", ".join(f"{e:.2f} {h:.2f}" for e, h in zip(bins.expected, bins.happened, strict=True))
    return Figure(
        run, svg, f"expected and happened, by bin: {pairs}", f"calibration error {bins.error:.3f}"
    )


# --- disagreement
# ------------------------------------------------------------------------------------------------


def disagreements(evidence: Evidence) -> Section:
    """How often runs answer otherwise."""
    blocks: list[Block] = []
    for task in evidence.tasks:
        if len(evidence.counts(task)) > 1:
            blocks.append(_disagreement(evidence, task))
    lead = "Models that err alike add little to each other: the share of rows to which two runs give different answers."
    return Section(
        "disagreement", "Disagreement", lead, blocks or [Note("There is one run.", "comp run")]
    )


def _disagreement(evidence: Evidence, task: Task) -> Matrix:
    rows = evidence.rows(task)
    said = {
        run: answers(task, evidence.runs[run].kind, evidence.outputs(task, run))
        for run in evidence.counts(task)
    }
    if task.classes:
        shares = disagreement(said)
        right, wrong = agreement(said, truth(task, rows))
        title, note = (
            task.name,
            f"All runs are right on {right:.1%} of the rows, none is on {wrong:.1%}.",
        )
    else:
        counts = evidence.baseline(task)[1]
        movable = counts.groups[
            MOVABLE
        ]  # the queries of these counts go by id, as first products do
        shares = disagreement(
            {run: _first_of_graded(counts, rows, score)[movable] for run, score in said.items()}
        )
        title, note = (
            f"{task.name}, another product first",
            f"Shares of the {pluralize(int(movable.sum()), 'query', 'queries')} whose order matters.",
        )
    apart = shares[~np.eye(len(shares), dtype=bool)]
    least, spread = float(apart.min()), float(np.ptp(apart))
    lines = [
        (
            one,
            [
                MatrixCell("")
                if i == j
                else MatrixCell(f"{share:.1%}", "", tint(share - least, spread))
                for j, share in enumerate(shares[i])
            ],
        )
        for i, one in enumerate(said)
    ]
    return Matrix(title, "", list(said), lines, note)


def _first_of_graded(counts: Counts, rows: pd.DataFrame, score: Array) -> np.ndarray:
    return first_products(rows, score).reindex(counts.queries).to_numpy()


# --- ensembles
# ---------------------------------------------------------------------------------------------------


def ensembles(evidence: Evidence) -> Section:
    """What ensembles take of their members."""
    items = []
    for plan in evidence.plans:
        if not evidence.is_ensemble(plan.name):
            continue
        card = read_json(evidence.workspace.run_card(plan.name))
        weights = mean_weights(card["weights"])
        what = "weights" if weights else "share of the gain of all splits"
        if not weights:
            shares = mean_importance(evidence.pipeline, plan.name, plan.tasks[0]).head(FEATURES)
            weights = {str(feature): float(share) for feature, share in shares.items()}
        svg = charts.plot_bars(f"taken-{plan.name}", weights)
        words = ", ".join(f"{name} {value:.3f}" for name, value in weights.items())
        items.append(
            Figure(
                plan.name, svg, words, f"{card['recipe']['method']}: {what}, mean over the folds"
            )
        )
    lead = "Weights of the members, or the features by which trees gain most."
    if not items:
        named = evidence.pipeline.settings.ensembles
        command = f"comp stack {named[0]}" if named else "comp stack blend"
        return Section("ensembles", "Ensembles", lead, [Note("No ensemble is complete.", command)])
    return Section("ensembles", "Ensembles", lead, [Multiples("", items)])
