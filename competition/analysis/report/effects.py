"""The sections on what made the difference: runs against the lexical baseline, and members of ensembles."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from competition.analysis.ensemble_study import mean_importance, mean_weights
from competition.analysis.report import charts
from competition.analysis.report.blocks import (
    Block,
    Column,
    Figure,
    Multiples,
    Note,
    ReportCell,
    Section,
    Table,
    estimate,
    number,
    scale_of,
    text,
)
from competition.analysis.report.evidence import Evidence
from competition.analysis.report.scores import estimate_of, title
from competition.config.loading import WITHOUT
from competition.core.errors import CompError
from competition.core.json_files import read_json
from competition.scoring import evaluation
from competition.scoring.intervals import Estimate
from competition.scoring.predictions import RunPlan
from competition.scoring.task import Task

FEATURES = 15  # shown of an ensemble


def effects(evidence: Evidence) -> Section:
    """Return the section with a forest plot per task: every run minus the lexical baseline."""
    figures = [figure for task in evidence.tasks if (figure := _forest(evidence, task))]
    other = "the lexical baseline" if evidence.floor else "the trivial baseline"
    lead = (
        f"Paired differences to {other} with 95 % intervals, over the queries of the leaderboard. A full mark is "
        "significant: blue is better, orange worse. An open mark is not: its interval includes 0."
    )
    blocks: list[Block] = [Multiples("", figures)]
    if not figures:
        blocks = [Note("There is only one run; a difference needs two.", "comp run")]
    return Section("effects", "Runs against the baseline", lead, blocks)


def _forest(evidence: Evidence, task: Task) -> Figure | None:
    """Return the figure of a task; None where there is nothing to compare."""
    lines = evidence.lines(task).to_dict("records")
    reference, minus = evidence.floor, "above_floor"
    if reference is None:
        reference, minus = str(lines[0]["baseline"]), "above_baseline"

    # The lexical baseline is not compared with itself.
    differences = {line["run"]: estimate_of(line, minus) for line in lines}
    shown = {run: each for run, each in differences.items() if each.value == each.value}
    if not shown:
        return None

    submitted = evidence.submitted.get(task.name)
    rows = [
        (f"{run} (submitted)" if run == submitted else run, (each.value, each.low, each.high))
        for run, each in shown.items()
    ]
    sign = 1 if task.metric.greater_is_better else -1
    horizontal = f"{task.metric.label} minus {reference}"
    svg = charts.plot_differences(f"effects-{task.name}", rows, horizontal, sign)
    alt_text = f"minus {reference}: " + "; ".join(f"{run} {each:+}" for run, each in shown.items())
    return Figure(title(task, evidence.group(task), int(lines[0]["queries"])), svg, alt_text)


# --- members of ensembles


def members(evidence: Evidence) -> Section:
    """Return the section with each ensemble's members: their weights, and the ensemble without each."""
    ensembles = [plan for plan in evidence.plans if evidence.is_ensemble(plan.name)]
    names = evidence.pipeline.plan.settings.ensembles
    ensemble = names[0] if names else "blend"
    lead = (
        "The weight of each member, mean over the folds; `text` is what an ensemble learns from text features alone. "
        "What a member adds is the ensemble minus the same ensemble without it, paired over the queries of the "
        "leaderboard: if the interval includes 0, the member may be left out."
    )
    title = "What each member adds"
    if not ensembles:
        note = Note("No ensemble is complete.", f"comp stack {ensemble}")
        return Section("ensembles", title, lead, [note])

    tasks = {task.name: task for task in evidence.tasks}
    effects = [
        effect
        for plan in ensembles
        if plan.tasks[0] in tasks
        for effect in _members(evidence, plan, tasks[plan.tasks[0]])
    ]
    blocks: list[Block] = [_members_table(effects)] if effects else []
    if any(effect.without and effect.adds is None for effect in effects):
        command = f"comp stack {ensemble} --leave-out --only"
        blocks.append(Note("What a member adds is not measured yet.", command))

    # The trees of a stacker have no weights of members.
    figures = [_features(evidence, plan) for plan in ensembles if not _weights(evidence, plan)]
    blocks += [Multiples("Features that the trees use most", figures)] if figures else []
    return Section("ensembles", title, lead, blocks)


@dataclass(frozen=True)
class MemberEffect:
    """What one member is to an ensemble.

    Attributes:
        ensemble: the run.
        member: its name; `text` for the text features.
        weight: mean over the folds; None for trees.
        without: the ensemble without it; empty where it cannot be left out.
        adds: the ensemble minus that; None where that is not up to date.
        metric: of `adds`.
    """

    ensemble: str
    member: str
    weight: float | None
    without: str
    adds: Estimate | None
    metric: str


def _weights(evidence: Evidence, plan: RunPlan) -> dict[str, float]:
    return mean_weights(read_json(evidence.workspace.run_card(plan.name))["weights"])


def _members(evidence: Evidence, plan: RunPlan, task: Task) -> Iterator[MemberEffect]:
    """Yield what each member is to an ensemble, and what text features are, if it weighs them."""
    pipeline = evidence.pipeline
    recipe = pipeline.recipes.ensemble(pipeline.plan.contest.split_run(plan.name)[0])
    names = [member.name for member in pipeline.recipes.members_of(recipe, task.name)]
    weights = _weights(evidence, plan)

    for name in dict.fromkeys([*names, *weights]):
        without = f"{recipe.name}.{WITHOUT}{name}" if name in names and len(names) > 1 else ""
        adds = _adds(evidence, plan, task, without) if without else None
        yield MemberEffect(plan.name, name, weights.get(name), without, adds, task.metric.label)


def _adds(evidence: Evidence, plan: RunPlan, task: Task, variant: str) -> Estimate | None:
    """Return an ensemble minus its variant without a member; None where that is not up to date."""
    pipeline = evidence.pipeline
    try:
        without = pipeline.plan.ensemble_run(pipeline.recipes.ensemble(variant), task.name)
        held_out = pipeline.tables.read_run(without).held_out
    except CompError:
        return None

    counts = evaluation.count_outputs(task, without.kind, held_out, evidence.rows(task))
    group = evidence.group(task)
    return evaluation.estimate_difference(evidence.counts(task)[plan.name], counts, group)


def _members_table(effects: Sequence[MemberEffect]) -> Table:
    added = [effect.adds for effect in effects if effect.adds is not None]
    scale = scale_of(added, include=0.0)
    columns = [Column("Ensemble", choice=True), Column("Member", choice=True)]
    columns.append(Column("Weight", number=True))
    columns += [Column("It adds", number=True), Column("Metric")] if added else []
    rows = []
    for effect in effects:
        cells = [ReportCell(effect.ensemble, heading=True), text(effect.member)]
        cells.append(number(effect.weight, ".3f"))
        if added:
            cells += [estimate(effect.adds, "+", scale), text(effect.metric)]
        rows.append(cells)
    return Table("", columns, rows)


def _features(evidence: Evidence, plan: RunPlan) -> Figure:
    """Return the figure of the features that an ensemble's trees use most."""
    shares = mean_importance(evidence.pipeline, plan.name, plan.tasks[0]).head(FEATURES)
    values = {str(feature): float(share) for feature, share in shares.items()}
    svg = charts.plot_bars(f"taken-{plan.name}", values)
    alt_text = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
    return Figure(plan.name, svg, alt_text, "share of the gain of all splits, mean over the folds")
