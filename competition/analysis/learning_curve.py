"""A learning curve: the same members and their ensemble, learned from more and more training queries.

A model of a size is a recipe like any other, with its own run in `oof/`, so a curve that was
stopped goes on. Sizes are nested, and all are scored on the same held-out rows, so differences are
paired, between models and between sizes. An ensemble of a size learns from the labels of the same
queries as its members. Recipes keep their epochs, so fewer queries are fewer steps; what they take
from an audit or a teacher, which know more labels, is left out at every size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from competition.config.paper_tables import KEEP_LABELS
from competition.config.recipe import SCHEMES, AnyRecipe, EnsembleRecipe, MemberRecipe, RunRecipe
from competition.core.atomic import write_text
from competition.core.errors import InputError
from competition.core.workspace import Workspace
from competition.data import folds
from competition.pipeline.execute import Step
from competition.pipeline.plans import PAIRED
from competition.pipeline.steps import Pipeline
from competition.scoring import evaluation, metrics
from competition.scoring.evaluation import DEEP, Counts
from competition.scoring.metrics import Estimate
from competition.scoring.tasks import TASKS, Task

SIZES = (250, 500, 1_000)  # training queries, where there are at least twice as many


@dataclass(frozen=True)
class Size:
    """The models that learn from so many training queries."""

    queries: int
    rows: int  # labelled, of these queries
    recipes: dict[str, str]  # what a model is called -> its recipe at this size


@dataclass(frozen=True)
class CurvePoint:
    """One model at one size, on one task."""

    task: str
    group: str  # of the queries that are scored
    model: str
    queries: int
    rows: int
    score: Estimate
    above_floor: Estimate | None  # minus the floor at the same size; None for the floor
    gained: Estimate | None  # minus the same model at the size before; None for the smallest


@dataclass(frozen=True)
class LearningCurve:
    """A learning curve on one workspace."""

    pipeline: Pipeline
    floor: str
    ensemble: str
    sizes: tuple[Size, ...]  # ascending, the last is all queries

    @property
    def path(self) -> Path:
        """Where `write` puts the table."""
        return self.pipeline.workspace.curve(self.ensemble)

    @classmethod
    def plan(
        cls, workspace: Workspace, queries: Sequence[int] = (), ensemble: str | None = None
    ) -> "LearningCurve":
        """Return the curve of an ensemble, its members and the floor.

        Args:
            workspace: whose rows.
            queries: the sizes beside that of all training queries; those that are not below it are
                left out. Unless named, SIZES up to half of all, or a quarter and a half of all.
            ensemble: its name; the first of competition.toml unless named.

        Raises:
            InputError: no ensemble or no floor is named, a recipe limits its training queries
                already, no size is below all training queries, or one leaves a fold without a row
                of a task.
        """
        pipeline = Pipeline(workspace)
        ensemble = ensemble or next(iter(pipeline.settings.ensembles), None)
        if ensemble is None:
            raise InputError(
                f"{workspace.settings_file} names no ensemble: name one, such as `comp curve blend`."
            )
        blend, floor = pipeline.ensemble(ensemble), pipeline.floor
        if floor is None:
            raise InputError(
                f"{workspace.settings_file} names no lexical recipe, which a learning curve compares with: "
                "add 'lexical' to `recipes`."
            )
        members = pipeline.members_of(blend)
        models = [pipeline.member(floor), *(member for member in members if member.name != floor)]
        for recipe in (*models, blend):
            if recipe.train_queries:
                raise InputError(
                    f"The recipe {recipe.name!r} learns from {recipe.train_queries:,} training queries already: "
                    "remove `train_queries`, a learning curve sets it."
                )
        examples = pipeline.maker.examples
        whole = len(folds.texts_in_order(examples))
        usual = [size for size in SIZES if size <= whole // 2] or [whole // 4, whole // 2]
        queries = queries or usual
        _check(examples, whole, queries, pipeline.tasks_of(blend))

        recipes: dict[str, AnyRecipe] = {}
        sizes = []
        for count in (*sorted({each for each in queries if each < whole}), 0):
            rows = folds.first_queries(examples, count or whole) & examples["label"].notna()
            of_size = _at_size(models, [member.name for member in members], blend, count)
            recipes |= {recipe.name: recipe for recipe in of_size.values()}
            named = {model: recipe.name for model, recipe in of_size.items()}
            sizes.append(Size(count or whole, int(rows.sum()), named))
        return cls(Pipeline(workspace, recipes), floor, ensemble, tuple(sizes))

    def steps(self) -> list[Step]:
        """Return what the curve needs, in order, the smallest size first."""
        names = self.pipeline.order(name for size in self.sizes for name in size.recipes.values())
        steps = [step for name in names for step in self.pipeline.run_steps(name)]
        return list({step.name: step for step in steps}.values())

    def points(self) -> list[CurvePoint]:
        """Return every model at every size, task by task, from the complete runs."""
        examples = self.pipeline.maker.examples
        train = examples[examples["split"] == "train"]
        tasks = self.pipeline.tasks_of(self.pipeline.ensemble(self.ensemble))
        graded = [(TASKS[name], evaluation.graded_rows(TASKS[name], train)) for name in tasks]
        return [
            point for task, rows in graded if not rows.empty for point in self._points(task, rows)
        ]

    def _points(self, task: Task, rows: pd.DataFrame) -> list[CurvePoint]:
        points: list[CurvePoint] = []
        before: dict[str, Counts] = {}
        for size in self.sizes:
            counts = self._counts(task, rows, size)
            floor = counts[self.floor]
            group = DEEP if DEEP in floor.groups and floor.groups[DEEP].any() else "all"
            for model, each in counts.items():
                above = (
                    None
                    if model == self.floor
                    else evaluation.estimate_difference(each, floor, group)
                )
                gained = (
                    evaluation.estimate_difference(each, before[model], group) if before else None
                )
                score = evaluation.estimate_score(each, group)
                points.append(
                    CurvePoint(
                        task.name, group, model, size.queries, size.rows, score, above, gained
                    )
                )
            before = counts
        return points

    def _counts(self, task: Task, rows: pd.DataFrame, size: Size) -> dict[str, Counts]:
        """Return what each query adds to a task's metric, of each model of a size that answers the task."""
        counts = {}
        for model, name in size.recipes.items():
            plan = self.pipeline.run(name, task.name if model == self.ensemble else None)
            if task.name in plan.tasks:
                outputs = self.pipeline.maker.read_run(plan).held_out
                counts[model] = evaluation.count_outputs(task, plan.kind, outputs, rows)
        return counts

    def shown(self, points: Sequence[CurvePoint]) -> list[CurvePoint]:
        """Return of one task's points those of the floor, of the member that is best with all queries, and of the
        ensemble."""
        others = [point for point in points if point.model not in (self.floor, self.ensemble)]
        of_all = [point for point in others if point.queries == self.sizes[-1].queries]
        best = max(of_all, key=lambda point: point.score.value).model if of_all else None
        return [point for point in points if point.model in (self.floor, best, self.ensemble)]

    def write(self, points: Sequence[CurvePoint], picture: str) -> None:
        """Write the table and, beside it, the picture."""
        cells = []
        for point in points:
            row: dict[str, object] = {
                "task": point.task,
                "metric": TASKS[point.task].metric,
                "group": point.group,
            }
            row |= {"model": point.model, "train_queries": point.queries, "train_rows": point.rows}
            row |= {"queries": point.score.queries}
            row |= metrics.cells(
                score=point.score, above_floor=point.above_floor, gained=point.gained
            )
            cells.append(row)
        write_text(self.path, str(pd.DataFrame(cells).to_csv(index=False, lineterminator="\n")))
        write_text(self.path.with_suffix(".svg"), picture)


def _check(
    examples: pd.DataFrame, whole: int, queries: Sequence[int], tasks: Sequence[str]
) -> None:
    """Raise InputError where no size is below all training queries, or one leaves a fold without a row of a task."""
    if min(queries) >= whole:
        raise InputError(
            f"The data have {whole:,} training queries: name fewer, such as --queries {whole // 2}."
        )
    fold = folds.fold_of_rows(examples, folds.make_folds(examples, PAIRED))
    for count in queries:
        chosen = examples[folds.first_queries(examples, count)]
        for task in tasks:
            graded = evaluation.graded_rows(TASKS[task], chosen)
            empty = sorted(set(range(SCHEMES[PAIRED])) - set(fold[graded.index]))
            if empty:
                raise InputError(
                    f"The first {count:,} training queries leave fold {empty[0]} without a labelled row of {task}: "
                    "name more."
                )


def _at_size(
    models: Sequence[MemberRecipe], members: Sequence[str], blend: EnsembleRecipe, count: int
) -> dict[str, RunRecipe]:
    """Return the models and the ensemble of `members` as they learn from `count` training queries, 0 being all.

    What is the same as without a curve keeps its name, so that its run is used.
    """
    found: dict[str, RunRecipe] = {}
    for model in models:
        recipe = model.model_copy(update=KEEP_LABELS | {"train_queries": count})
        if recipe.result_keys() != model.result_keys():
            recipe = recipe.model_copy(update={"name": f"curve-{model.name}-{count or 'all'}"})
        found[model.name] = recipe
    taken = [found[name].name for name in members]
    found[blend.name] = blend
    if count or taken != list(members):
        changes = {
            "name": f"curve-{blend.name}-{count or 'all'}",
            "members": tuple(taken),
            "train_queries": count,
        }
        found[blend.name] = blend.model_copy(update=changes)
    return found


def describe_points(points: Sequence[CurvePoint], floor: str) -> str:
    """Return one sentence on the points of one task: where models overtake the floor, and what the last rows bought.

    A model is ahead or behind where the 95 % interval of the difference excludes 0, else level.
    """
    models = list(dict.fromkeys(point.model for point in points))
    of_model = {model: [point for point in points if point.model == model] for model in models}
    standings = [_standing(of_model[model], floor) for model in models if model != floor]
    *_, before, last = of_model[floor]
    gains = [f"{model} {of_model[model][-1].gained:+}" for model in models]
    return (
        f"{last.task}: {' and '.join(standings)}; from {before.queries:,} to {last.queries:,} training queries "
        f"{TASKS[last.task].metric} changes by {', '.join(gains)}."
    )


def _standing(points: Sequence[CurvePoint], floor: str) -> str:
    """Return how a model stands to the floor as queries become more."""
    words: list[tuple[str, int]] = []
    for point in points:
        above = point.above_floor
        assert above is not None  # the floor itself is not asked about
        word = "level with" if not above.differs else "ahead of" if above.value > 0 else "behind"
        if not words or words[-1][0] != word:
            words.append((word, point.queries))
    first, *later = words
    if not later:
        return f"{points[0].model} is {first[0]} {floor} at every size"
    return f"{points[0].model} is {first[0]} {floor} with {first[1]:,} training queries" + "".join(
        f", {word} it from {queries:,} on" for word, queries in later
    )
