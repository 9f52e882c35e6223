"""Is it what the audit's models saw, or how little they learned from, that nested audits and teachers take away?

    python -m benchmarks.nested WORKSPACE    after `comp ablate noise --recipe lexical --nested -w
    WORKSPACE`

Nested models learn from three folds, those of complete runs from four. So each row of another fold
is taught here by a model of three folds once more, one that left out the row's own fold and,
instead of the fold k that is scored, another one. It differs from the nested form in one thing: it
saw the labels of fold k.
"""

import sys
from pathlib import Path

import pandas as pd

from competition.analysis.ablation import Ablation
from competition.config.recipe import LexicalRecipe
from competition.core.workspace import Workspace
from competition.data.targets import Targets, mix_teacher
from competition.models.lexical.lexical import predict_lexical, train_lexical
from competition.noise import actions
from competition.noise.audit import audit_labels
from competition.pipeline.rows import fold_rows
from competition.scoring import evaluation
from competition.scoring.evaluation import Counts
from competition.scoring.intervals import bootstrap
from tests.esci import KINDS, TASKS

TASK, KIND = TASKS["task2"], KINDS["classes"]
ACTIONS = ("drop", "weight", "distil")


class Control:
    """The table's first row on one workspace, and what its nested models say."""

    def __init__(self, root: Path) -> None:
        ablation = Ablation.plan(Workspace.open(root), "noise", 1, None, "lexical", nested=True)
        self.pipeline, self.keep = ablation.pipeline, ablation.runs["keep"][0]
        recipe = self.pipeline.recipes.member(self.keep)
        assert isinstance(recipe, LexicalRecipe)
        self.recipe, self.tables = recipe, self.pipeline.tables
        self.fold = self.tables.fold_of_training("five")
        train = self.tables.examples[self.tables.examples["split"] == "train"]
        self.train, self.graded = train, evaluation.graded_rows(TASK, train)
        space, plans = self.pipeline.workspace, self.pipeline.plan.pairs(self.keep)
        self.pairs = {
            plan.held: pd.read_parquet(space.pair(self.keep, plan.held)) for plan in plans
        }

    def taught(self, k: int, saw_k: bool) -> pd.DataFrame:
        """Outputs of the rows outside fold k by models of three folds, fold k among them or not."""
        parts = []
        for j in (fold for fold in range(5) if fold != k):
            third = [fold for fold in range(5) if fold not in (j, k)]
            pair = self.pairs[tuple(sorted((j, third[(j + k) % 3] if saw_k else k)))]
            parts.append(pair[pair["example_id"].map(self.fold) == j])
        return pd.concat(parts)

    def score(self, action: str, saw_k: bool) -> Counts:
        """The rows that are right after an action, over all folds."""
        held_out = []
        for k in range(5):
            rows = fold_rows(self.tables, self.pipeline.plan.fold(self.recipe, k))
            learned, said = self.tables.examples.iloc[rows.train], self.taught(k, saw_k)
            flags = audit_labels(
                [said],
                KIND,
                self.train,
                self.fold[self.fold != k],
                self.pipeline.plan.settings.audit,
            ).flags
            lesson = None
            if action == "drop":
                learned = learned[~learned["example_id"].isin(actions.dropped_ids(flags))]
            else:
                labels, ids = (
                    Targets.of_labels(KIND, learned),
                    learned["example_id"].to_numpy(),
                )
                lesson = (
                    actions.weight_by_quality(labels, ids, flags)
                    if action == "weight"
                    else mix_teacher(labels, KIND, ids, KIND, said, self.recipe.distill_weight)
                )
            booster = train_lexical(
                self.recipe, KIND, self.tables.lexical_features, learned, str(k), lesson
            )
            evaluated = self.tables.examples["example_id"].to_numpy()[rows.held_out]
            held_out.append(predict_lexical(booster, KIND, self.tables.lexical_features, evaluated))
        return evaluation.count_outputs(TASK, KIND, pd.concat(held_out), self.graded)


def main(root: Path) -> None:
    """Print a line per action, nested and not."""
    control = Control(root)
    run = control.tables.read_run(control.pipeline.plan.run(control.keep))
    keep = evaluation.count_outputs(TASK, KIND, run.held_out, control.graded)
    print("| three folds, | row | micro-F1 [95 %] | minus keep |\n|---|---|---|---|")
    for saw_k in (False, True):
        for action in ACTIONS:
            found = control.score(action, saw_k)
            name = "one is scored" if saw_k else "none is scored (nested)"
            cells = f"{bootstrap(found.values, found.statistic)} | {evaluation.estimate_difference(found, keep):+}"
            print(f"| {name} | {action} | {cells} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
