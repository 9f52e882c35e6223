"""The sections on models: calibration, confusion and disagreement."""

from functools import partial

import numpy as np

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
)
from competition.core.arrays import Codes
from competition.core.errors import pluralize
from competition.core.threads import side_by_side
from competition.scoring.evaluation import MOVABLE
from competition.scoring.task import Task

# --- confusion


def confusions(evidence: Evidence) -> Section:
    """Return the section with a confusion matrix per classification task and run."""
    blocks: list[Block] = []
    for task in evidence.tasks:
        if not task.classes:
            continue
        labels = evidence.graded(task).truth
        given = _codes(evidence, task)
        count = partial(confusion_matrix, labels, classes=len(task.classes))
        counts = side_by_side(count, given.values())
        items = [_confusion(task, run, each) for run, each in zip(given, counts, strict=True)]
        blocks.append(Multiples(task.name, items))

    lead = "Rows are labels, columns are answers: the share of a label's rows, and their number."
    if not blocks:
        blocks.append(Note("No complete run answers a task that classifies.", "comp run"))
    return Section("confusion", "Confusion", lead, blocks)


def _confusion(task: Task, run: str, counts: Codes) -> Matrix:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)  # of the label's rows
    rows = []
    for i, label in enumerate(task.classes):
        cells = [
            MatrixCell(f"{share:.0%}", f"{count:,}", tint(share, 1.0))
            for share, count in zip(shares[i], counts[i], strict=True)
        ]
        rows.append((label, cells))
    note = f"{counts.trace():,} of {counts.sum():,} rows right"
    return Matrix(run, "label", task.classes, rows, note)


# --- calibration


def calibrations(evidence: Evidence) -> Section:
    """Return the section that compares expected with observed values, per task and run."""
    blocks: list[Block] = []
    for task in evidence.tasks:
        # A run is judged on the task that it is trained for.
        items = [
            _calibration(task, run, each.reliability)
            for run, each in evidence.answers(task).items()
            if each.reliability is not None
        ]
        if items:
            horizontal, vertical = axes(task)
            blocks.append(Multiples(f"{task.name}: {horizontal} against {vertical}", items))

    lead = (
        "Rows in ten bins of equal size by expected value. On the dashed line, expected and observed values are equal; "
        "below it, the run is overconfident. Scores of ensembles that rank are not on a scale of gains and are left "
        "out."
    )
    if not blocks:
        blocks.append(Note("No complete run gives probabilities.", "comp run"))
    return Section("calibration", "Calibration", lead, blocks)


def axes(task: Task) -> tuple[str, str]:
    """Return what `run_answers.expectation` expects and observes, in words."""
    if task.ranks:
        return "expected gain", "mean gain"
    if task.kind == "rate":
        return "expected rating", "mean rating"
    if task.positive is not None:
        return f"probability of {task.positive}", f"share that is {task.positive}"
    return "probability of the answer", "share that is right"


def _calibration(task: Task, run: str, bins: Reliability) -> Figure:
    svg = charts.plot_calibration(f"calibration-{task.name}-{run}", bins, *axes(task))
    pairs = ", ".join(f"{e:.2f} {o:.2f}" for e, o in zip(bins.expected, bins.observed, strict=True))
    alt_text = f"expected and observed, by bin: {pairs}"
    return Figure(run, svg, alt_text, f"calibration error {bins.error:.3f}")


# --- disagreement


def disagreements(evidence: Evidence) -> Section:
    """Return the section with the share of rows to which two runs give different answers."""
    compared = [task for task in evidence.tasks if len(evidence.counts(task)) > 1]
    # Two numbers are hardly ever the same.
    tasks = [task for task in compared if task.metric.reads != "number"]
    matrices = [_disagreement(evidence, task) for task in tasks if _has_answers(evidence, task)]
    blocks: list[Block] = [Multiples("", matrices)] if matrices else []
    lead = (
        "The share of rows to which two runs give different answers. Models with the same errors add little to each "
        "other."
    )
    if not blocks:
        if tasks:
            blocks.append(Note("The order of no list matters."))
        elif compared:
            blocks.append(Note("All answers are numbers."))
        else:
            blocks.append(Note("There is only one run.", "comp run"))
    return Section("disagreement", "Disagreement", lead, blocks)


def _has_answers(evidence: Evidence, task: Task) -> bool:
    """Return whether there is a class, or a list whose order matters, to agree on."""
    return not task.ranks or bool(evidence.baseline(task)[1].groups[MOVABLE].any())


def _disagreement(evidence: Evidence, task: Task) -> Matrix:
    if task.ranks:
        title = f"{task.name}, another product first"
        by_run = _first_products(evidence, task)
        queries = len(next(iter(by_run.values())))
        note = f"Shares of the {pluralize(queries, 'query', 'queries')} whose order matters."
    else:
        title = task.name
        by_run = _codes(evidence, task)
        right, wrong = agreement(by_run, evidence.graded(task).truth)
        note = f"All runs are right on {right:.1%} of the rows, none on {wrong:.1%}."

    # The least disagreement has the faintest tint.
    shares = disagreement(by_run)  # (runs, runs)
    of_pairs = shares[~np.eye(len(shares), dtype=bool)]
    least, spread = float(of_pairs.min()), float(np.ptp(of_pairs))
    lines = []
    for i, run in enumerate(by_run):
        cells = [MatrixCell(f"{s:.1%}", "", tint(s - least, spread)) for s in shares[i]]
        cells[i] = MatrixCell("")
        lines.append((run, cells))
    return Matrix(title, "", list(by_run), lines, note)


def _codes(evidence: Evidence, task: Task) -> dict[str, np.ndarray]:
    """Return the class or level that each run gives each row, `(rows,)`."""
    given = {run: each.codes for run, each in evidence.answers(task).items()}
    return {run: codes for run, codes in given.items() if codes is not None}


def _first_products(evidence: Evidence, task: Task) -> dict[str, np.ndarray]:
    """Return what each run ranks first, `(queries,)`, of the queries whose order changes their score."""
    _, counts = evidence.baseline(task)
    movable = counts.queries[counts.groups[MOVABLE]]
    place = np.searchsorted(evidence.graded(task).lists.queries, movable)
    first = {run: each.first for run, each in evidence.answers(task).items()}
    return {run: products[place] for run, products in first.items() if products is not None}
