"""Build what complete runs are read for: audits, ensembles, submissions, scores.

Only here do these meet the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from competition.core.atomic import write_text
from competition.core.console import progress, warn
from competition.core.fingerprint import digest_file
from competition.core.json_files import read_json, write_json
from competition.core.lazy import pd
from competition.core.parquet import write_table
from competition.noise.plan import AuditPlan
from competition.noise.reviews import apply_reviews, read_reviews
from competition.pipeline.build_runs import write_run_card
from competition.pipeline.keys import PAIRED, EnsemblePlan
from competition.pipeline.rows import outputs_seen_from
from competition.pipeline.tables import Tables
from competition.scoring import predictions, submissions
from competition.scoring.evaluation import DEEP, MIN_DEEP_QUERIES, MOVABLE
from competition.scoring.optimism import read_optimism
from competition.scoring.predictions import RunPlan
from competition.scoring.task import Task

if TYPE_CHECKING:
    from competition.models.ensemble.crossfit import CrossFitted
    from competition.models.ensemble.members import Member
    from competition.models.ensemble.results import Combination
    from competition.pipeline.plan import Plan

# The columns of the log of submissions: group and value of an estimate. Most queries of task 1 have
# lists that cannot move, which score 1 whatever is submitted: hence the groups beside all.
_LOGGED = {
    "out_of_fold": ("all", "value"), "low": ("all", "low"), "high": ("all", "high"),
    "can_move": (MOVABLE, "value"), "full_depth": (DEEP, "value"),
}  # fmt: skip


def build_audit(tables: Tables, plan: Plan, audit_plan: AuditPlan) -> None:
    """Write the card and the flags of an audit, with people's reviews applied."""
    from competition.noise.audit import Audit, CannotAudit, audit_labels
    from competition.noise.report import audit_card, caveat

    name = audit_plan.name
    left_out = audit_plan.fold
    train = tables.examples[tables.examples["split"] == "train"]
    outputs = [
        outputs_seen_from(tables, run, audit_plan.pairs.get(run.name), left_out)
        for run in audit_plan.runs
    ]
    # Nested models leave out folds of PAIRED, whatever the scheme of their recipe.
    scheme = audit_plan.runs[0].scheme if left_out is None else PAIRED
    fold = tables.fold_of_training(scheme)

    kind = audit_plan.runs[0].kind
    skipped = None
    with progress(f"audit of {name}"):
        try:
            issues = audit_labels(outputs, kind, train, fold[fold != left_out], audit_plan.keys)
        except CannotAudit as reason:
            issues = Audit.skipped(len(kind.labels))
            skipped = str(reason)

    content = audit_card(audit_plan, issues, len(train), kind.labels.names, skipped)
    write_json(plan.workspace.noise_card(name, left_out), content)
    flags = apply_reviews(issues.flags, plan.reviews(name))
    write_table(plan.workspace.noise(name, left_out), flags, audit_plan.inputs)

    if sentence := caveat(content):
        without = "" if left_out is None else f" without fold {left_out}"
        warn(f"Audit of {name}{without}: {sentence}")


def save_reviews(tables: Tables, name: str, runs: Iterable[RunPlan], file: Path) -> None:
    """Check a file of reviews of the audit `name` of some runs, and keep them in the workspace.

    Raises:
        InputError: see `read_reviews`; what was kept before stays.
    """
    # A row can be reviewed where every run predicted it.
    labelled = tables.examples.loc[tables.examples["label"].notna(), "example_id"]
    for run in runs:
        labelled = labelled[labelled.isin(tables.read_run(run).held_out["example_id"])]

    reviews = read_reviews(file, labelled)
    write_table(tables.workspace.reviews(name), reviews, tables.card.train)


# --- ensembles ---


def build_ensemble(tables: Tables, plan: EnsemblePlan) -> None:
    """Write the run of an ensemble for one task, and what it learned."""
    from competition.models.ensemble.saved import save_fitted

    workspace = tables.workspace
    run = plan.run
    fitted = fit_ensemble(tables, plan, read_members(tables, plan), tables.examples)
    for k, (held_out, test) in enumerate(run.parts):
        test_path = workspace.test_fold(run.name, k)
        oof_path = workspace.oof_fold(run.name, k)
        predictions.write_outputs(test_path, fitted.test[k], run.kind, test)
        predictions.write_outputs(oof_path, fitted.held_out[k], run.kind, held_out)

    learned_folds = [result.fitted for result in fitted.results]
    save_fitted(workspace.fitted(run.name), learned_folds, run.fingerprint)

    shares = []
    for k, learned in enumerate(fitted.results):
        of_fold = learned.importance  # feature -> share
        columns = {"feature": list(of_fold), "fold": k, "importance": list(of_fold.values())}
        shares.append(pd.DataFrame(columns))
    importance = pd.concat(shares, ignore_index=True)
    write_table(workspace.importance(run.name), importance, run.fingerprint)

    extra: dict[str, Any] = {
        "members": {member.name: member.fingerprint for member in plan.members}
    }
    names = ["weights", "rounds", "factors"]
    names += ["cuts"] if any(each.cuts for each in fitted.results) else []
    for name in names:
        extra[name] = {str(k): getattr(each, name) for k, each in enumerate(fitted.results)}

    # The card says that the run is complete, so it comes last.
    write_run_card(tables, run, plan.recipe.model_dump(mode="json"), extra)


def read_members(tables: Tables, plan: EnsemblePlan) -> list[Member]:
    """Return complete runs as an ensemble reads them: by their nested models where it is nested."""
    from competition.models.ensemble.members import Member

    members = []
    for member in plan.members:
        run = tables.read_run(member)
        seen = dict.fromkeys(plan.run.folds, run.held_out)
        if member.name in plan.pairs:
            # Each fold is fitted on outputs of models that never saw its labels either.
            pairs = plan.pairs[member.name]
            fold = tables.fold_of_training(plan.run.scheme)
            seen = predictions.read_nested(tables.workspace, member.name, member.kind, pairs, fold)

        lexical = member.name in plan.lexical
        members.append(Member(run.name, run.kind, seen, run.test, lexical=lexical))
    return members


def fit_ensemble(
    tables: Tables, plan: EnsemblePlan, members: list[Member], examples: pd.DataFrame
) -> CrossFitted:
    """Fit an ensemble of members to the labels of `examples`, which may be others than those of the workspace."""
    from competition.models.ensemble.crossfit import cross_fit

    text = tables.text_features if plan.recipe.stacks and plan.recipe.text else None
    fold = tables.fold_of_rows(plan.run.scheme)
    contest = tables.contest
    return cross_fit(
        contest.tasks[plan.task],
        plan.run.kind,
        members,
        examples,
        fold,
        plan.recipe,
        text,
        tuple(contest.tasks),
    )


def fitted_folds(tables: Tables, plan: EnsemblePlan) -> list[Combination]:
    """Return what the folds of an ensemble learned; where it is not kept, it is fitted again, and kept.

    It depends on no row that it answers, and on nothing that the fingerprint of the run leaves out.
    """
    from competition.models.ensemble.saved import load_fitted, save_fitted

    run = plan.run
    folder = tables.workspace.fitted(run.name)
    fitted = load_fitted(folder, tables.contest.tasks[plan.task], run.fingerprint)
    if fitted is None:
        results = fit_ensemble(tables, plan, read_members(tables, plan), tables.examples).results
        fitted = [result.fitted for result in results]
        save_fitted(folder, fitted, run.fingerprint)
    return fitted


# --- submissions and scores ---


def build_submission(tables: Tables, name: str, plans: Mapping[str, RunPlan], inputs: str) -> None:
    """Write a submission: every file is checked before the first is written, and the log gets a line per file."""
    files: dict[str, str] = {}
    for task_name, plan in plans.items():
        task = tables.contest.tasks[task_name]
        test = tables.read_run(plan).test
        answer = submissions.make_answer(task, plan.kind, test, tables.examples)
        text = submissions.to_csv(answer)

        # The text is checked as whoever reads the file sees it.
        read_back = submissions.read_answer(StringIO(text), task.file, task)
        submissions.check_answer(read_back, task.file, task, tables.examples)
        files[task.file] = text

    made_from = {
        task: {
            "run": plan.name,
            "inputs": plan.fingerprint,
            "leaky": plan.leaky,
            "basis": plan.basis,
        }
        for task, plan in plans.items()
    }

    log = []
    for task_name, plan in plans.items():
        task = tables.contest.tasks[task_name]
        digest = submissions.digest_bytes(files[task.file].encode())
        log.append({**_log_line(tables, name, task, plan), "sha256": digest})

    card = {"inputs": inputs, "made_from": made_from}
    submissions.write_submission(tables.workspace, name, files, card, log)


def _log_line(tables: Tables, name: str, task: Task, plan: RunPlan) -> dict[str, Any]:
    """Return a line of the log of submissions, its estimates from the card of the run."""
    line = {"submission": name, "task": task.name, "run": plan.name, "metric": task.metric.label}
    line |= {"leaky": "yes" if plan.leaky else "", "basis": plan.basis}

    scores = read_json(tables.workspace.run_card(plan.name)).get("scores", {})
    groups = scores.get(task.name, {}).get(task.metric.label, {})
    for column, (group, value) in _LOGGED.items():
        estimate = groups.get(group, {})
        # Few lists of full depth say less than all that can move.
        few = group == DEEP and estimate.get("queries", 0) < MIN_DEEP_QUERIES
        number = None if few else estimate.get(value)
        line[column] = "" if number is None else repr(number)
    return line


def build_scores(
    tables: Tables, plans: list[RunPlan], baseline: str | None, card: Path, inputs: str
) -> None:
    """Write `reports/scores.csv`, then the card that says what it was made from.

    Args:
        tables: of the workspace.
        plans: every run.
        baseline: the run that the others must beat, if there is one.
        card: the path of the card.
        inputs: the fingerprint of the scores.
    """
    from competition.scoring.counted_runs import CountedRuns
    from competition.scoring.scoreboard import scoreboard
    from competition.scoring.tallies import Tallies

    workspace = tables.workspace
    counted = CountedRuns(tables.contest.tasks.values(), tables.examples)
    schemes = {plan.scheme: tables.fold_of_training(plan.scheme) for plan in plans}
    tallies = Tallies(counted, schemes)
    with progress("scores", len(plans), "runs") as work:
        # A run at a time is in memory.
        for plan in plans:
            run = tables.read_run(plan)
            tallies.add(plan, run, counted.add(plan, run))
            work.advance(1)
        baselines = dict.fromkeys(tables.contest.tasks, baseline) if baseline else {}
        table = scoreboard(counted, plans, baselines, read_optimism(workspace, plans))

    # The card says that the table is up to date, so it comes last.
    write_text(workspace.scores, str(table.to_csv(index=False, lineterminator="\n")))
    content = {
        "inputs": inputs,
        "sha256": digest_file(workspace.scores),
        "tallies": tallies.as_json(),
    }
    write_json(card, content)
