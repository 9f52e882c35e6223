"""What the rules judge: the files of a workspace, each read once and none of them large."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from competition.analysis.diagnoses.run_facts import RunFacts
from competition.analysis.diagnoses.training_log import Training, read_trainings
from competition.config.encoder_recipe import EncoderRecipe
from competition.config.loading import WITHOUT
from competition.config.recipe import EnsembleRecipe
from competition.core.json_files import read_json
from competition.pipeline.execute import StepStates
from competition.pipeline.output_steps import SUBMISSION
from competition.pipeline.steps import Pipeline
from competition.scoring.evaluation import DEEP, MIN_DEEP_QUERIES, MOVABLE
from competition.scoring.intervals import Estimate
from competition.scoring.metric_table import HIGHER
from competition.scoring.predictions import RunPlan
from competition.scoring.scoreboard import read_scoreboard

OUT_OF_FOLD, TEST = "out-of-fold", "test"


@dataclass(frozen=True)
class Line:
    """A line of `reports/scores.csv`, see `scoreboard.BoardRow`; a difference is None where it has no value."""

    task: str
    split: str
    group: str
    run: str
    queries: int
    unit: str
    metric: str
    better: str
    baseline: str
    floor: str
    label_paths: str
    score: Estimate
    above_baseline: Estimate | None
    above_floor: Estimate | None
    above_best: Estimate | None
    flatters: Estimate | None

    @property
    def sign(self) -> int:
        """1 where a higher score is better, else -1."""
        return 1 if self.better == HIGHER else -1

    def compares(self, difference: Estimate | None) -> int | None:
        """Return 1 for better, 0 for not significantly different, -1 for worse; None for too few queries."""
        if difference is None or not difference.has_interval:
            return None
        if not difference.differs:
            return 0
        return self.sign if difference.value > 0 else -self.sign


@dataclass(frozen=True)
class Facts:
    """All that the rules read.

    Attributes:
        tasks: that the data have rows of, in the contest's order.
        lines: of the table of scores.
        tallies: counts beside it, see `scoring/tallies.py`.
        runs: by name, in the order of competition.toml.
        submission: task -> the run that answers its test rows; empty where there are none.
        states: of the steps that are not done.
        audits: name -> the content of `noise.json`.
        without_member: lines of the last `comp stack --leave-out`, minus the whole ensemble.
        public: the newest lines of the log of submissions that have a public score.
        has_test_rows: whether there is something to submit.
    """

    tasks: tuple[str, ...]
    lines: tuple[Line, ...] = ()
    tallies: Mapping[str, Any] = field(default_factory=dict)
    runs: Mapping[str, RunFacts] = field(default_factory=dict)
    submission: Mapping[str, str] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)
    audits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    without_member: tuple[Line, ...] = ()
    public: tuple[Mapping[str, str], ...] = ()
    has_test_rows: bool = True

    def leading(self, task: str, split: str | None = None) -> list[Line]:
        """Return the lines that tell the runs of a task apart, best first.

        They are out-of-fold, or of test rows where no training row has a label; and of the group of
        queries that says most, see `evaluation.leading_group`.
        """
        for asked in (split,) if split else (OUT_OF_FOLD, TEST):
            lines = [line for line in self.lines if (line.task, line.split) == (task, asked)]
            for group in (DEEP, MOVABLE, "all"):
                found = [line for line in lines if line.group == group]
                if found and (group != DEEP or found[0].queries >= MIN_DEEP_QUERIES):
                    return sorted(found, key=lambda line: -line.sign * line.score.value)
        return []

    def line(self, task: str, run: str, split: str | None = None) -> Line | None:
        """Return the leading line of a run; None where it has none."""
        return next((line for line in self.leading(task, split) if line.run == run), None)

    def answers(self) -> Iterator[tuple[str, Line]]:
        """Yield each task with the leading line of the run that answers it, where it has one.

        That is the submitted run; where there is nothing to submit, the best one.
        """
        for task in self.tasks:
            lines = self.leading(task)
            if not self.has_test_rows:
                lines = lines[:1]
            else:
                lines = [line for line in lines if line.run == self.submission.get(task)]
            yield from ((task, line) for line in lines)

    @property
    def singles(self) -> dict[str, RunFacts]:
        """The runs that are no ensembles."""
        return {name: run for name, run in self.runs.items() if not run.is_ensemble}

    @property
    def ensembles(self) -> dict[str, RunFacts]:
        """The runs that are ensembles."""
        return {name: run for name, run in self.runs.items() if run.is_ensemble}


def read_facts(pipeline: Pipeline, states: StepStates | None = None) -> Facts:
    """Read the files of a workspace that the rules need, no table of rows among them.

    Args:
        pipeline: of the workspace.
        states: of all steps, where the caller knows them; else every file is looked at.
    """
    if states is None:
        states = StepStates.look(pipeline.steps())
    unfinished = {step.name: states.of[step.name] for step in states.left}

    space, plan = pipeline.workspace, pipeline.plan
    names = pipeline.recipes.submission()
    answered = plan.card.tasks if plan.card.has_test_rows else ()
    submission = {task: plan.run(names[task], task).name for task in answered if task in names}

    # A table that somebody changed counts as missing: its figures are not ours.
    lines = () if states.of.get("scores") == "missing" else tuple(read_lines(space.scores))
    plans = plan.runs()
    runs = {each.name: _run_facts(pipeline, each, unfinished) for each in plans}
    ensembles = {run.recipe.name for run in runs.values() if run.is_ensemble}
    audits = {audit.name: read_json(space.noise_card(audit.name)) for audit in plan.audits()}

    return Facts(
        tasks=plan.card.tasks,
        lines=lines,
        tallies=read_json(space.scores.with_suffix(".json")).get("tallies", {}),
        runs=runs,
        submission=submission,
        states=unfinished,
        audits={name: card for name, card in audits.items() if card},
        without_member=tuple(
            line
            for name in sorted(ensembles)
            for line in read_lines(space.stack_table(name))
            if f".{WITHOUT}" in line.run and _is_current(line, lines)
        ),
        public=tuple(_public_scores(space.leaderboard)),
        has_test_rows=plan.card.has_test_rows,
    )


def read_lines(path: Path) -> Iterator[Line]:
    """Yield the lines of a table of scores; none where there is no file, or it is no such table."""
    if not path.is_file():
        return

    try:
        lines = list(parse_lines(path.read_text(encoding="utf-8").splitlines()))
    except (KeyError, TypeError, ValueError, csv.Error):
        return
    yield from lines


def parse_lines(table: Iterable[str]) -> Iterator[Line]:
    """Yield the lines of a table of scores as CSV, those without a score left out."""
    for cells in read_scoreboard(table):
        queries = cells["queries"]
        names = ("score", "above_baseline", "above_floor", "above_best", "flatters")
        estimates = {name: _estimate(cells, name, queries) for name in names}
        score = estimates.pop("score")
        if score is None:
            continue
        yield Line(
            task=cells["task"],
            split=cells["split"],
            group=cells["group"],
            run=cells["run"],
            queries=queries,
            unit=cells["unit"],
            metric=cells["metric"],
            better=cells["better"],
            baseline=cells["baseline"],
            floor=cells["floor"],
            label_paths=cells["label_paths"],
            score=score,
            **estimates,
        )


def _estimate(cells: Mapping[str, Any], name: str, queries: int) -> Estimate | None:
    """Return an estimate from the cells that begin with `name`; None where there is no value."""
    value, low, high = (cells[f"{name}{part}"] for part in ("", "_low", "_high"))
    return None if math.isnan(value) else Estimate(value, low, high, queries)


def _run_facts(pipeline: Pipeline, plan: RunPlan, unfinished: Mapping[str, str]) -> RunFacts:
    recipes, space = pipeline.recipes, pipeline.workspace
    stem, task = pipeline.plan.contest.split_run(plan.name)
    recipe = recipes.run(stem)

    members: tuple[str, ...] = ()
    if isinstance(recipe, EnsembleRecipe):
        members = tuple(member.name for member in recipes.members_of(recipe, task))
    trainings: list[Training] = []
    pretrained = False
    if isinstance(recipe, EncoderRecipe):
        trainings = read_trainings(space.log(plan.name))
        pretrained = recipes.pretrained(recipe.encoder) is not None

    card = read_json(space.run_card(plan.name))
    return RunFacts(
        name=plan.name,
        tasks=plan.tasks,
        command=plan.command,
        recipe=recipe,
        members=members,
        card=card if card.get("inputs") == plan.fingerprint else {},
        unfinished={name: state for name, state in unfinished.items() if _is_of(plan.name, name)},
        trainings=tuple(trainings),
        pretrained=pretrained,
        less_is_better=not pipeline.plan.contest.tasks[plan.kind.primary].metric.greater_is_better,
    )


def _is_of(run: str, step: str) -> bool:
    """Return whether a step is a fold, the scores or the fitting of a run."""
    kind, _, rest = step.partition(" ")
    name, _, _ = rest.partition(" fold ")
    return kind in ("train", "predict", "score", "stack") and name == run


def _is_current(line: Line, lines: tuple[Line, ...]) -> bool:
    """Return whether a line of `comp stack` was compared with the ensemble as it is scored now."""
    place = (line.task, line.split, line.group, line.floor)
    whole = next((o for o in lines if (o.task, o.split, o.group, o.run) == place), None)
    if whole is None or line.above_floor is None:
        return False
    return math.isclose(line.score.value - line.above_floor.value, whole.score.value, abs_tol=1e-9)


def _public_scores(log: Path) -> Iterator[Mapping[str, str]]:
    """Yield, for each task, the newest line of the log of submissions that has a public score."""
    if not log.is_file():
        return

    # Spreadsheets change separators and encodings: such a log is for `comp leaderboard` to read.
    with log.open(encoding="utf-8-sig", errors="replace", newline="") as handle:
        lines = [line for line in csv.DictReader(handle) if line.get("public")]
    newest = {
        line["task"]: line
        for line in lines
        if line.get("submission") == SUBMISSION and line.get("task")
    }
    yield from newest.values()
