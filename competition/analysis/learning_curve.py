"""Learning curves: the same members and their ensemble, trained on more and more queries.

A model of a size is a recipe like any other, with its own run in `oof/`, so an interrupted curve
resumes. Sizes are nested, and all are scored on the same held-out rows, so differences are paired,
between models and between sizes. An ensemble of a size learns from the labels of the same queries
as its members. Recipes keep their number of epochs, so fewer queries are fewer steps. Audits and
teachers, which know more labels, are left out at every size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from competition.config.base_recipe import SCHEMES
from competition.config.keys import KEEP_LABELS
from competition.config.recipe import AnyRecipe, EnsembleRecipe, MemberRecipe, RunRecipe
from competition.core.atomic import write_text
from competition.core.errors import InputError
from competition.core.workspace import Workspace
from competition.data import folds
from competition.pipeline.execute import Step, in_order
from competition.pipeline.keys import PAIRED
from competition.pipeline.steps import Pipeline
from competition.scoring import evaluation, intervals
from competition.scoring.contest import Contest
from competition.scoring.evaluation import DEEP, Counts
from competition.scoring.intervals import Estimate
from competition.scoring.metric_table import Metric
from competition.scoring.task import Task

SIZES = (250, 500, 1_000)  # training queries, if there are at least twice as many


@dataclass(frozen=True)
class Size:
    """The models that are trained on a number of queries."""

    queries: int
    rows: int  # labelled, of these queries
    recipes: dict[str, str]  # model -> the name of its recipe at this size


@dataclass(frozen=True)
class CurvePoint:
    """One model at one size, on one task."""

    task: str
    group: str  # of the scored queries
    model: str
    queries: int
    rows: int
    score: Estimate
    above_floor: Estimate | None  # minus the lexical baseline at this size; None for itself
    gained: Estimate | None  # minus the same model at the size before; None for the first size


@dataclass(frozen=True)
class LearningCurve:
    """A learning curve on one workspace."""

    pipeline: Pipeline
    floor: str  # the lexical baseline
    ensemble: str
    sizes: tuple[Size, ...]  # ascending, the last is all queries

    @property
    def path(self) -> Path:
        """The file that `write` writes."""
        return self.pipeline.workspace.curve(self.ensemble)

    @classmethod
    def plan(
        cls, workspace: Workspace, queries: Sequence[int] = (), ensemble: str | None = None
    ) -> "LearningCurve":
        """Return the curve of an ensemble, its members and the lexical baseline.

        Args:
            workspace: whose rows.
            queries: the sizes beside that of all training queries; those that are not below it are
                left out. By default SIZES up to half of all, or a quarter and a half of all.
            ensemble: its name; by default the first of competition.toml.

        Raises:
            InputError: no ensemble or no lexical baseline is named, a recipe limits its training
                queries already, no size is below all training queries, or one leaves a fold
                without a row of a task.
        """
        pipeline = Pipeline(workspace)
        ensemble = ensemble or next(iter(pipeline.plan.settings.ensembles), None)
        if ensemble is None:
            raise InputError(
                f"{workspace.settings_file} names no ensemble: name one, such as `comp curve blend`."
            )
        blend = pipeline.recipes.ensemble(ensemble)
        floor = pipeline.recipes.lexical_baseline
        if floor is None:
            raise InputError(
                f"{workspace.settings_file} names no lexical recipe, which a learning curve compares with: "
                "add 'lexical' to `recipes`."
            )
        members = pipeline.recipes.members_of(blend)
        models = [
            pipeline.recipes.member(floor),
            *(member for member in members if member.name != floor),
        ]
        for recipe in (*models, blend):
            if recipe.train_queries:
                raise InputError(
                    f"The recipe {recipe.name!r} learns from {recipe.train_queries:,} training queries already: "
                    "remove `train_queries`, a learning curve sets it."
                )

        examples = pipeline.tables.examples
        total = len(folds.texts_in_order(examples))
        defaults = [size for size in SIZES if size <= total // 2] or [total // 4, total // 2]
        queries = queries or defaults
        tasks = [pipeline.plan.contest.tasks[name] for name in pipeline.recipes.tasks_of(blend)]
        _check_sizes(pipeline.plan.contest, examples, total, queries, tasks)

        recipes: dict[str, AnyRecipe] = {}
        sizes = []
        member_names = [member.name for member in members]
        for count in (*sorted({each for each in queries if each < total}), 0):  # 0: all
            of_size = _at_size(models, member_names, blend, count)
            recipes |= {recipe.name: recipe for recipe in of_size.values()}

            rows = folds.first_queries(examples, count or total) & examples["label"].notna()
            names = {model: recipe.name for model, recipe in of_size.items()}
            sizes.append(Size(count or total, int(rows.sum()), names))
        return cls(Pipeline(workspace, recipes), floor, ensemble, tuple(sizes))

    def steps(self) -> list[Step]:
        """Return what the curve needs, in order, the smallest size first."""
        names = self.pipeline.recipes.order(
            name for size in self.sizes for name in size.recipes.values()
        )
        steps = [step for name in names for step in self.pipeline.run_steps(name)]
        return in_order(steps)

    @property
    def contest(self) -> Contest:
        """What the runs take part in."""
        return self.pipeline.plan.contest

    def points(self) -> list[CurvePoint]:
        """Return every model at every size, task by task, from the complete runs."""
        examples = self.pipeline.tables.examples
        train = examples[examples["split"] == "train"]
        points = []
        for name in self.pipeline.recipes.tasks_of(self.pipeline.recipes.ensemble(self.ensemble)):
            task = self.contest.tasks[name]
            rows = evaluation.graded_rows(task, train)
            if not rows.empty:
                points += self._points_of_task(task, rows)
        return points

    def _points_of_task(self, task: Task, rows: pd.DataFrame) -> list[CurvePoint]:
        points: list[CurvePoint] = []
        before: dict[str, Counts] = {}
        for size in self.sizes:
            counts = self._counts(task, rows, size)
            floor = counts[self.floor]
            # Lists of full depth tell most about ranking.
            group = DEEP if DEEP in floor.groups and floor.groups[DEEP].any() else "all"
            for model, own in counts.items():
                above = gained = None
                if model != self.floor:
                    above = evaluation.estimate_difference(own, floor, group)
                if before:
                    gained = evaluation.estimate_difference(own, before[model], group)
                score = evaluation.estimate_score(own, group)
                points.append(
                    CurvePoint(
                        task.name, group, model, size.queries, size.rows, score, above, gained
                    )
                )
            before = counts
        return points

    def _counts(self, task: Task, rows: pd.DataFrame, size: Size) -> dict[str, Counts]:
        """Return the counts of each model of a size that answers the task."""
        counts = {}
        for model, name in size.recipes.items():
            plan = self.pipeline.plan.run(name, task.name if model == self.ensemble else None)
            if task.name in plan.tasks:
                outputs = self.pipeline.tables.read_run(plan).held_out
                counts[model] = evaluation.count_outputs(task, plan.kind, outputs, rows)
        return counts

    def representatives(self, points: Sequence[CurvePoint]) -> list[CurvePoint]:
        """Return one task's points of the lexical baseline, the best member at the last size, and the ensemble."""
        # The best member is chosen once, so that its line has a point at every size.
        members = [point for point in points if point.model not in (self.floor, self.ensemble)]
        of_all = [point for point in members if point.queries == self.sizes[-1].queries]
        greater = self.contest.tasks[points[0].task].metric.greater_is_better
        choose = max if greater else min
        best = choose(of_all, key=lambda point: point.score.value).model if of_all else None
        return [point for point in points if point.model in (self.floor, best, self.ensemble)]

    def write(self, points: Sequence[CurvePoint], picture: str) -> None:
        """Write the table and, beside it, the picture."""
        lines = []
        for point in points:
            line: dict[str, object] = {
                "task": point.task,
                "metric": self.contest.tasks[point.task].metric.label,
                "group": point.group,
                "model": point.model,
                "train_queries": point.queries,
                "train_rows": point.rows,
                "queries": point.score.queries,
            }
            estimates = intervals.cells(
                score=point.score, above_floor=point.above_floor, gained=point.gained
            )
            lines.append(line | estimates)
        write_text(self.path, str(pd.DataFrame(lines).to_csv(index=False, lineterminator="\n")))
        write_text(self.path.with_suffix(".svg"), picture)


def _check_sizes(
    contest: Contest,
    examples: pd.DataFrame,
    total: int,
    queries: Sequence[int],
    tasks: Sequence[Task],
) -> None:
    """Raise InputError if no size is below all training queries, or one leaves a fold without a row of a task."""
    if min(queries) >= total:
        raise InputError(
            f"The data have {total:,} training queries: name fewer, such as --queries {total // 2}."
        )
    fold = folds.fold_of_rows(examples, folds.make_folds(examples, PAIRED, contest))
    all_folds = set(range(SCHEMES[PAIRED]))
    for count in queries:
        rows = examples[folds.first_queries(examples, count)]
        for task in tasks:
            graded = evaluation.graded_rows(task, rows)
            empty = sorted(all_folds - set(fold[graded.index]))
            if empty:
                raise InputError(
                    f"The first {count:,} training queries leave fold {empty[0]} without a labelled row of "
                    f"{task.name}: name more."
                )


def _at_size(
    models: Sequence[MemberRecipe], members: Sequence[str], blend: EnsembleRecipe, count: int
) -> dict[str, RunRecipe]:
    """Return the models and the ensemble of `members`, trained on `count` queries, 0 being all.

    A recipe that a size does not change keeps its name, so that its run is reused.
    """
    size = str(count or "all")
    recipes: dict[str, RunRecipe] = {}
    for model in models:
        recipe = model.model_copy(update=KEEP_LABELS | {"train_queries": count})
        if recipe.result_keys() != model.result_keys():
            recipe = recipe.model_copy(update={"name": f"curve-{model.name}-{size}"})
        recipes[model.name] = recipe

    of_size = tuple(recipes[name].name for name in members)
    if count or of_size != tuple(members):
        changes = {"name": f"curve-{blend.name}-{size}", "members": of_size, "train_queries": count}
        recipes[blend.name] = blend.model_copy(update=changes)
    else:
        recipes[blend.name] = blend
    return recipes


def describe_points(points: Sequence[CurvePoint], floor: str, metric: Metric) -> str:
    """Return a sentence on the points of one task: where models pass the lexical baseline, and the last gain.

    A model is better or worse if the 95 % interval of the difference excludes 0.
    """
    models = list(dict.fromkeys(point.model for point in points))
    of_model = {model: [point for point in points if point.model == model] for model in models}
    others = [of_model[model] for model in models if model != floor]
    comparisons = [_compare(each, floor, metric.greater_is_better) for each in others]
    gains = [f"{model} {of_model[model][-1].gained:+}" for model in models]
    *_, before, last = of_model[floor]
    return (
        f"{last.task}: {' and '.join(comparisons)}; from {before.queries:,} to {last.queries:,} training queries "
        f"{metric.label} changes by {', '.join(gains)}."
    )


def _compare(points: Sequence[CurvePoint], floor: str, greater_is_better: bool) -> str:
    """Return how a model compares with the lexical baseline as the training queries increase."""
    # The result, and the size from which it holds.
    changes: list[tuple[str, int]] = []
    for point in points:
        above = point.above_floor
        # Only the baseline itself has no difference to it.
        assert above is not None
        result = "not significantly different from"
        if above.differs:
            result = "better than" if (above.value > 0) == greater_is_better else "worse than"
        if not changes or changes[-1][0] != result:
            changes.append((result, point.queries))

    (first, size), *later = changes
    model = points[0].model
    if not later:
        return f"{model} is {first} {floor} at every size"
    sentence = f"{model} is {first} {floor} with {size:,} training queries"
    for result, queries in later:
        adjective = result.removesuffix(" than").removesuffix(" from")
        sentence += f", from {queries:,} on {adjective}"
    return sentence
