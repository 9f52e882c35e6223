"""A run, ready for new rows: `competition.load`, and what `comp predict` calls."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.core.console import silent
from competition.core.errors import InputError
from competition.core.workspace import Workspace
from competition.models.exported.folder import CERTIFICATE, is_exported
from competition.pipeline.new_rows import NewRows, Table, from_python
from competition.pipeline.predict_new import EnsembleModels, PreparedRows, RunModels
from competition.pipeline.steps import Pipeline
from competition.scoring.answers import answers, class_names
from competition.scoring.contest import Contest
from competition.scoring.task import Kind

SCORE = "score"


class Scorer:
    """A run of a workspace that scores and classifies rows which no workspace holds.

    In every method, `queries` is one query per product or one for all, `products` a list of titles
    or a frame with the columns of the competition's files (`product_title`, and, where known,
    `product_brand`, `product_color`, `product_bullet_point`, `product_description`,
    `product_locale`), and `locale` that of rows which name none. Rows with the same query are read
    as its candidates where the run looks at candidates. Every method raises InputError for an empty
    query, an unknown locale, a missing column, or no row.

    Attributes:
        contest: what the run takes part in.
        kind: what the run predicts.
        basis: `held-out` or `approximate`, how the run's own out-of-fold scores were measured.
        label_paths: the ways in which labels reached the scores that they grade, empty where these
            are held out. Answers to new rows are fitted on none of their labels either way.
    """

    def __init__(self, pipeline: Pipeline, run: str) -> None:
        """Find the models of a run, see `load`."""
        plan = pipeline.plan
        run_plan = plan.run(run)
        self.contest = plan.contest
        self.kind = run_plan.kind
        self.basis = run_plan.basis
        self.label_paths = run_plan.label_paths
        self._run = run
        self._tables = pipeline.tables

        # Only the run of an ensemble is called by its task.
        stem, task = self.contest.split_run(run)
        self._models: EnsembleModels | RunModels
        if task:
            self._models = EnsembleModels(plan, pipeline.tables, run)
        else:
            self._models = RunModels(plan, plan.recipes.member(stem))

    def score(
        self,
        queries: str | Sequence[str],
        products: Sequence[str] | pd.DataFrame,
        locale: str = "",
    ) -> NDArray[np.float64]:
        """Score how well each product answers its query.

        Returns:
            Scores, `(rows,)`, higher is better: the expected gain, 0..1 (exact 1, substitute 0.1,
            complement 0.01, irrelevant 0); of an ensemble for task 1, which is made to rank, a
            number on a scale of its own.

        Raises:
            InputError: also where the run predicts substitutes alone.
        """
        if not has_score(self.contest, self.kind):
            raise InputError(
                f"{self._run!r} predicts {self.kind.name}, which ranks nothing: use `classify`."
            )
        predicted = self._answer_python(queries, products, locale)
        return predicted[SCORE].to_numpy(np.float64)

    def classify(
        self,
        queries: str | Sequence[str],
        products: Sequence[str] | pd.DataFrame,
        locale: str = "",
    ) -> pd.DataFrame:
        """Predict the class of each row and the probabilities of all classes.

        Returns:
            A line per row in the order of `products`: `predicted_label` (exact, substitute,
            complement, irrelevant) and `p_exact` to `p_irrelevant`, which sum to 1; or
            `predicted_substitute` (substitute, no_substitute) and `p_substitute`.

        Raises:
            InputError: also where the run predicts gains or scores alone.
        """
        if self.kind.is_number:
            raise InputError(
                f"{self._run!r} predicts {self.kind.name} and no classes: use `score`."
            )
        predicted = self._answer_python(queries, products, locale)
        return predicted.drop(columns=SCORE, errors="ignore")

    def _answer_python(
        self, queries: str | Sequence[str], products: Sequence[str] | pd.DataFrame, locale: str
    ) -> pd.DataFrame:
        """Return what `answer` does, without a word on the terminal."""
        with silent():
            rows = self.read(from_python(queries, products, self.contest), "products", locale)
            return self.answer(rows)

    @property
    def columns(self) -> list[str]:
        """The columns that `answer` returns."""
        no_rows = pd.DataFrame(columns=list(self.kind.outputs), dtype=np.float64)
        return shown(self.contest, self.kind, no_rows).columns.tolist()

    def read(
        self,
        table: Table,
        source: str,
        locale: str = "",
        called: Mapping[str, str] | None = None,
    ) -> NewRows:
        """Check rows and name what is distinct in them, see `NewRows.make`."""
        return NewRows.make(table, source, self.contest, locale, 0, called)

    def trained_on(self, rows: NewRows) -> int:
        """Count the rows that are pairs which the run was trained on: locale, query and title agree."""
        examples = self._tables.examples
        learned = examples[self._models.learned_from(examples)]
        return int(rows.among(learned, self._tables.products).sum())

    def answer(self, rows: NewRows) -> pd.DataFrame:
        """Predict each row that was given.

        Returns:
            A line per row, in the order in which they were given: `score` where the run ranks, then
            the predicted class in words and the probabilities where it has any.
        """
        outputs = self._models.outputs(PreparedRows(rows, self._tables))  # a line per distinct pair
        return shown(self.contest, self.kind, outputs).iloc[rows.of_row].reset_index(drop=True)


def has_score(contest: Contest, kind: Kind) -> bool:
    """Return whether outputs of a kind order rows: they answer a ranking, or are a rating."""
    ranking = contest.ranking
    return kind.role == "rating" or (ranking is not None and ranking.name in kind.tasks)


def scores_of(contest: Contest, kind: Kind, outputs: pd.DataFrame) -> NDArray[np.float64]:
    """Return what orders the rows of outputs, `(rows,)`: the answer to the ranking, or the rating."""
    ranking = contest.ranking
    if ranking is not None and ranking.name in kind.tasks:
        return answers(ranking, kind, outputs)
    return outputs["rating"].to_numpy(np.float64)


def shown(contest: Contest, kind: Kind, outputs: pd.DataFrame) -> pd.DataFrame:
    """Return outputs of a kind as users read them, in the order of the rows; see `Scorer.answer`."""
    frame = pd.DataFrame(index=outputs.index)
    if has_score(contest, kind):
        frame[SCORE] = scores_of(contest, kind, outputs)
    if kind.is_number:
        return frame

    # The class in words, by the task that the outputs are made for, and the probabilities.
    task = contest.tasks[kind.primary]
    if task.kind == "classify":
        column = f"predicted_{task.positive or 'label'}"
        frame[column] = class_names(task, answers(task, kind, outputs))
    columns = list(kind.outputs)
    frame[columns] = outputs[columns]
    return frame


def load(run: str, workspace: str | Path = ".") -> Scorer:
    """Open a run for new rows.

    Args:
        run: a recipe, or an ensemble and its task (`blend-task1`); or a folder that `comp export`
            wrote, which needs no workspace.
        workspace: the folder of the workspace in which it was trained.

    Raises:
        InputError: there is no such workspace, run or folder, or a file of the folder was changed.
        CompError: a model is missing or out of date; the sentence names the command that makes it.
    """
    folder = Path(run)
    if is_exported(folder):
        from competition.pipeline.folder_scorer import FolderScorer

        return FolderScorer(folder)
    if (folder / "config.json").is_file():
        raise InputError(
            f"{folder} has no {CERTIFICATE}, so it is not a folder that `comp export` wrote: load it with the library "
            "that made it, or export the run."
        )
    return Scorer(Pipeline(Workspace.open(Path(workspace))), run)
