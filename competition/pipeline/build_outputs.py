"""How that is made which complete runs are read for: audits, ensembles, submissions, scores.

Only here do these meet the files.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from competition.config.recipe import EnsembleRecipe
from competition.core.atomic import write_text
from competition.core.console import progress, warn
from competition.core.fingerprint import digest_file
from competition.core.json_files import read_json, write_json
from competition.core.parquet import write_table
from competition.noise.plan import AuditPlan
from competition.noise.reviews import apply_reviews, read_reviews
from competition.pipeline.build_runs import Runs
from competition.pipeline.plans import PAIRED
from competition.scoring import predictions, submissions
from competition.scoring.evaluation import DEEP, MOVABLE
from competition.scoring.optimism import read_optimism
from competition.scoring.predictions import RunPlan
from competition.scoring.scoreboard import scoreboard
from competition.scoring.tasks import TASKS, Task

if TYPE_CHECKING:
    from competition.models.ensemble.crossfit import CrossFitted
    from competition.models.ensemble.members import Member


class Maker(Runs):
    """Makes the artefacts of one workspace; what several steps need is read or computed once."""

    def noise(self, plan: AuditPlan, verdicts: pd.DataFrame) -> None:
        """Write the card and the flags of an audit, with people's verdicts honoured."""
        from competition.noise.audit import Audit, CannotAudit, audit_labels
        from competition.noise.report import audit_card, caveat

        train = self.examples[self.examples["split"] == "train"]
        seen = [self._seen_from(run, plan.pairs.get(run.name), plan.fold) for run in plan.runs]
        fold = self.fold_of_training(plan.runs[0].scheme if plan.fold is None else PAIRED)
        skipped = None
        with progress(f"audit of {plan.name}"):
            try:
                found = audit_labels(seen, train, fold[fold != plan.fold], plan.keys)
            except CannotAudit as reason:
                found, skipped = Audit.skipped(), str(reason)
        content = audit_card(plan, found, len(train), skipped)
        write_json(self.workspace.noise_card(plan.name, plan.fold), content)
        flags = apply_reviews(found.flags, verdicts)
        write_table(self.workspace.noise(plan.name, plan.fold), flags, plan.inputs)
        if said := caveat(content):
            without = "" if plan.fold is None else f" without fold {plan.fold}"
            warn(f"Audit of {plan.name}{without}: {said}")

    def keep_verdicts(self, name: str, runs: Iterable[RunPlan], file: Path) -> None:
        """Check a file of verdicts on the audit `name` of some runs, and keep them in the workspace.

        Raises:
            InputError: see `read_verdicts`; what was kept before stays.
        """
        labelled = self.examples.loc[self.examples["label"].notna(), "example_id"]
        for run in runs:
            labelled = labelled[labelled.isin(self.read_run(run).held_out["example_id"])]
        write_table(self.workspace.reviews(name), read_reviews(file, labelled), self.card.train)

    def ensemble(
        self,
        plan: RunPlan,
        recipe: EnsembleRecipe,
        members: list[RunPlan],
        pairs: Mapping[str, Mapping[tuple[int, ...], str]],
    ) -> None:
        """Write the run of an ensemble for one task; `pairs` are the nested models of each member, if it has any."""
        read = self.members(plan, members, pairs)
        fitted = self.combine(plan, recipe, read, self.examples)
        for k, (inputs, test_inputs) in zip(plan.folds, plan.parts, strict=True):
            predictions.write_outputs(
                self.workspace.test_fold(plan.name, k), fitted.test[k], plan.kind, test_inputs
            )
            predictions.write_outputs(
                self.workspace.oof_fold(plan.name, k), fitted.held_out[k], plan.kind, inputs
            )
        shares = [
            pd.DataFrame(
                {
                    "feature": list(each.importance),
                    "fold": k,
                    "importance": list(each.importance.values()),
                }
            )
            for k, each in enumerate(fitted.results)
        ]
        write_table(
            self.workspace.importance(plan.name),
            pd.concat(shares, ignore_index=True),
            plan.fingerprint,
        )
        extra: dict[str, Any] = {"members": {member.name: member.fingerprint for member in members}}
        for name in ("weights", "rounds", "factors"):
            extra[name] = {str(k): getattr(each, name) for k, each in enumerate(fitted.results)}
        self.write_card(plan, recipe.model_dump(mode="json"), extra)

    def members(
        self,
        plan: RunPlan,
        members: list[RunPlan],
        pairs: Mapping[str, Mapping[tuple[int, ...], str]],
    ) -> list["Member"]:
        """Complete runs as the ensemble `plan` reads them: those nested that have pairs."""
        from competition.models.ensemble.members import Member

        found = []
        for member in members:
            run = self.read_run(member)
            seen = dict.fromkeys(plan.folds, run.held_out)
            if member.name in pairs:
                fold, of_pairs = self.fold_of_training(plan.scheme), pairs[member.name]
                seen = predictions.read_nested(
                    self.workspace, member.name, member.kind, of_pairs, fold
                )
            model = read_json(self.workspace.run_card(member.name)).get("recipe", {}).get("model")
            found.append(Member(run.name, run.kind, seen, run.test, lexical=model == "lexical"))
        return found

    def combine(
        self, plan: RunPlan, recipe: EnsembleRecipe, members: list["Member"], examples: pd.DataFrame
    ) -> "CrossFitted":
        """Fit an ensemble of members to the labels of `examples`, which may be others than those of the workspace."""
        from competition.models.ensemble.crossfit import cross_fit

        text = self.text_features if recipe.stacks and recipe.text else None
        fold = self.fold_of_rows(plan.scheme)
        return cross_fit(TASKS[plan.tasks[0]], members, examples, fold, recipe, text)

    def submission(self, name: str, plans: Mapping[str, RunPlan], inputs: str) -> None:
        """Write a submission: every file is checked before the first is written, and the log gets a line per file."""
        from io import StringIO

        files: dict[str, str] = {}
        for task_name, plan in plans.items():
            task = TASKS[task_name]
            answer = submissions.make_answer(
                task, plan.kind, self.read_run(plan).test, self.examples
            )
            text = submissions.to_csv(answer)
            read_back = submissions.read_answer(StringIO(text), task.file, task)
            submissions.check_answer(read_back, task.file, task, self.examples)
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
        log = [self._log_line(name, TASKS[task], plan, files) for task, plan in plans.items()]
        card = {"inputs": inputs, "made_from": made_from}
        submissions.write_submission(self.workspace, name, files, card, log)

    def scores(self, plans: list[RunPlan], floor: str | None, card: Path, inputs: str) -> None:
        """Write `reports/scores.csv`, then the card that says what it was made from."""
        runs = {plan.name: self.read_run(plan) for plan in plans}
        with progress(f"scores of {len(runs)} runs"):
            floors = dict.fromkeys(TASKS, floor) if floor else {}
            table = scoreboard(
                self.examples, plans, runs, floors, read_optimism(self.workspace, plans)
            )
        write_text(self.workspace.scores, str(table.to_csv(index=False, lineterminator="\n")))
        write_json(card, {"inputs": inputs, "sha256": digest_file(self.workspace.scores)})

    def _log_line(
        self, name: str, task: Task, plan: RunPlan, files: dict[str, str]
    ) -> dict[str, Any]:
        scores = read_json(self.workspace.run_card(plan.name)).get("scores", {})
        groups = scores.get(task.name, {}).get(task.metric, {})
        shown = {
            key: _cell(groups.get(group, {}).get(value)) for key, (group, value) in _LOGGED.items()
        }
        line = {"submission": name, "task": task.name, "run": plan.name, "metric": task.metric}
        line |= {"leaky": "yes" if plan.leaky else "", "basis": plan.basis}
        return {**line, **shown, "sha256": submissions.digest_bytes(files[task.file].encode())}


# Most queries of task 1 have lists that cannot move, which score 1 whatever is submitted: hence the
# groups beside all.
_LOGGED = {
    "out_of_fold": ("all", "value"), "low": ("all", "low"), "high": ("all", "high"),
    "can_move": (MOVABLE, "value"), "full_depth": (DEEP, "value"),
}  # fmt: skip


def _cell(value: float | None) -> str:
    """A number of a run's card as the log holds it."""
    return "" if value is None else repr(value)
