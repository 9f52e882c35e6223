"""The comparison of every form of an export with the run that it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from competition.core.arrays import Array
from competition.core.errors import CompError, pluralize
from competition.core.lazy import pd
from competition.pipeline.exporting.choice import WORST_LOSS, differences
from competition.pipeline.exporting.sample import Pair, Sample
from competition.scoring.answers import answers
from competition.scoring.contest import Contest
from competition.scoring.intervals import Estimate
from competition.scoring.task import Kind

SAME = 1e-5  # of outputs, by the same weights in another program
SAME_GRAPH = 1e-4  # of outputs, by the same weights in another order of sums
TIE = 1e-5  # scores that are nearer than this are equal


@dataclass(frozen=True)
class Form:
    """One form of the model, compared.

    Attributes:
        name: what reads it.
        folder: from the exported one.
        rows: that were compared.
        queries: of these.
        max_abs_difference: of the outputs to the reference.
        order_changes: pairs of one query's rows in another order; scores nearer than TIE are ties.
        pairs: of rows of one query that are no ties.
        tolerance: of the outputs; None where the form may differ, and scores are compared.
        scores: by task, the paired difference of a score to the reference.
    """

    name: str
    folder: str
    rows: int
    queries: int
    max_abs_difference: float
    order_changes: int
    pairs: int
    tolerance: float | None
    scores: dict[str, Estimate]

    def as_json(self) -> dict[str, Any]:
        """Return the form as the certificate holds it."""
        content = {key: value for key, value in vars(self).items() if key != "scores"}
        return content | {"scores": {task: each.as_json() for task, each in self.scores.items()}}

    @property
    def agreement(self) -> float:
        """The share of pairs in the same order."""
        return 1 - self.order_changes / self.pairs if self.pairs else 1.0

    @property
    def fault(self) -> str:
        """What is wrong with the form, in words; empty where nothing is."""
        if not np.isfinite(self.max_abs_difference):
            return "some outputs are not finite"
        if self.tolerance is not None:
            if self.max_abs_difference > self.tolerance:
                return f"outputs differ by up to {self.max_abs_difference:.1e}, more than {self.tolerance:.0e}"
            if self.order_changes:
                return f"{pluralize(self.order_changes, 'pair')} of rows changed places"
            return ""

        if not self.scores:
            return "no labelled row says what it loses"
        worst = min(self.scores, key=lambda task: self.scores[task].value)
        if self.scores[worst].value < -WORST_LOSS:
            return f"it loses {self.scores[worst]:+} in {worst}, more than {WORST_LOSS}"
        return ""


class Reference:
    """The outputs of the run's model for the compared rows, and what forms are held against."""

    def __init__(self, contest: Contest, kind: Kind, sample: Sample, outputs: pd.DataFrame) -> None:
        self._contest = contest
        self.kind = kind
        self.sample = sample
        self.outputs = outputs
        self.values = kind.values(outputs)  # (rows, outputs)
        self.scores = order_scores(contest, kind, outputs)

    def compare(self, name: str, folder: str, values: Array, tolerance: float | None) -> Form:
        """Hold the outputs of a form `(rows, outputs)` against the reference."""
        frame = pd.DataFrame(values, columns=list(self.kind.outputs))
        frame.insert(0, "example_id", self.outputs["example_id"].to_numpy())
        gap = float(np.abs(values - self.values).max())
        scores = {} if tolerance is not None else self._differences(self.kind, frame, self.outputs)
        return self._form(
            name, folder, gap, order_scores(self._contest, self.kind, frame), tolerance, scores
        )

    def compare_scores(self, name: str, folder: str, scores: Array, exact: bool) -> Form:
        """Hold one score per row `(rows,)` against the one that the run ranks by."""
        gap = float(np.abs(scores - self.scores).max())
        kind = self._contest.kinds["score"]
        own, reference = (
            pd.DataFrame({"example_id": self.outputs["example_id"], "score": values})
            for values in (scores, self.scores)
        )
        compared = {} if exact else self._differences(kind, own, reference)
        return self._form(name, folder, gap, scores, SAME if exact else None, compared)

    def _differences(
        self, kind: Kind, own: pd.DataFrame, reference: pd.DataFrame
    ) -> dict[str, Estimate]:
        return differences(self._contest, kind, own, reference, self.sample.examples)

    def _form(
        self,
        name: str,
        folder: str,
        gap: float,
        scores: Array,
        tolerance: float | None,
        compared: dict[str, Estimate],
    ) -> Form:
        queries = self.sample.examples["query_id"].to_numpy()
        changes, pairs = order_changes(queries, self.scores, scores)
        return Form(
            name,
            folder,
            len(queries),
            len(np.unique(queries)),
            gap,
            changes,
            pairs,
            tolerance,
            compared,
        )


def order_scores(contest: Contest, kind: Kind, outputs: pd.DataFrame) -> Array:
    """Return the score that rows are ordered by, `(rows,)`: that of the ranking, else the first output."""
    ranking = contest.ranking
    if ranking is not None and ranking.name in kind.tasks:
        return answers(ranking, kind, outputs)
    return kind.values(outputs)[:, 0]


def order_changes(queries: NDArray[np.int64], scores: Array, others: Array) -> tuple[int, int]:
    """Return how many pairs of one query's rows two scores order differently, and of how many.

    Pairs that are ties by the first scores are not looked at.
    """
    changes = pairs = 0
    for query in np.unique(queries):
        rows = np.flatnonzero(queries == query)
        i, j = np.triu_indices(len(rows), 1)
        gap = scores[rows[i]] - scores[rows[j]]
        other = others[rows[i]] - others[rows[j]]
        apart = np.abs(gap) > TIE
        pairs += int(apart.sum())
        changes += int((apart & (gap * other <= 0)).sum())
    return changes, pairs


def check_same(form: Form) -> Form:
    """Return a form that must be the same; raises CompError where it is not."""
    if form.fault:
        raise CompError(
            f"The export differs from the run in {form.name} ({form.fault}), so no folder is written: report it, "
            "with the recipe."
        )
    return form


def cross_encoder_logits(folder: Path, pairs: Sequence[Pair]) -> Array | None:
    """Return the logits of a folder as sentence-transformers reads it; None where that is not installed."""
    try:
        from sentence_transformers import CrossEncoder
    except ImportError:
        return None

    import torch

    model = CrossEncoder(str(folder), device="cpu", local_files_only=True)
    texts = [list(pair) for pair in pairs]
    logits = model.predict(texts, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    return np.asarray(logits, np.float64).reshape(len(pairs), -1)


def versions() -> dict[str, str]:
    """Return the versions of the programs that an export is compared in."""
    found = {}
    for name in ("torch", "transformers", "tokenizers", "sentence-transformers", "onnxruntime"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
