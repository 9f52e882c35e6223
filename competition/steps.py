"""How each step of the pipeline is made: rows are read, handed to the room that does the work, and what it returns is
written. Only here do training, audits, ensembles and submissions meet the files."""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from competition import evaluation, folds, oof, submissions
from competition.data import store
from competition.data.store import Card
from competition.oof import RunPlan
from competition.progress import console, progress
from competition.settings import AverageRecipe, EncoderRecipe, LexicalRecipe, MemberRecipe
from competition.tables import read_table, write_table
from competition.tasks import KINDS, TASKS, Task
from competition.workspace import Workspace, derive_seed, read_json, write_json

if TYPE_CHECKING:
    from competition.training.finetune import Corpus, Fold

_PACKAGES = (
    "accelerate",
    "cleanlab",
    "lightgbm",
    "numpy",
    "pandas",
    "scikit-learn",
    "tokenizers",
    "torch",
    "transformers",
)


@dataclass(frozen=True)
class Job:
    """The two ways to make a fold: train it, or only predict the test rows with what was trained."""

    train: Callable[[], None]
    predict: Callable[[], None]


class Maker:
    """Makes the artefacts of one workspace; what several steps need is read or computed once."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._corpus: tuple[tuple[str, ...], Corpus] | None = None

    @cached_property
    def examples(self) -> pd.DataFrame:
        """All examples, sorted by example_id."""
        return store.load_examples(self.workspace)

    @cached_property
    def products(self) -> pd.DataFrame:
        """All products."""
        return store.load_products(self.workspace)

    @cached_property
    def text_features(self) -> pd.DataFrame:
        """The features of `lexical`, by example_id."""
        from competition.ensemble.features import text_features

        console.print(f"text features of {len(self.examples):,} rows")
        return text_features(self.examples, self.products)

    def fold_of_rows(self, scheme: str) -> pd.Series:
        """The fold of each example, from the checked file of a scheme."""
        table = read_table(self.workspace.folds(scheme))
        folds.check_folds(self.examples, table, scheme)
        return folds.fold_of_rows(self.examples, table)

    # --- folds and encoder ---

    def folds(self, scheme: str, inputs: str) -> None:
        """Write `folds/<scheme>.parquet`."""
        table = folds.make_folds(self.examples, scheme)
        folds.check_folds(self.examples, table, scheme)
        write_table(self.workspace.folds(scheme), table, inputs)

    def encoder(self, source: str, folder: Path, card: Path, inputs: str, seed: int) -> None:
        """Write an encoder's folder, then the card that says it is complete."""
        from competition.model.encoder import fetch, make_tiny

        card.unlink(missing_ok=True)
        if source == "tiny":
            make_tiny(folder, store.training_products(self.examples, self.products), derive_seed(seed, "tiny"))
        else:
            fetch(folder, source)
        write_json(card, {"inputs": inputs, "source": source})

    # --- training ---

    def job(
        self, recipe: MemberRecipe, fold: int, encoder: Path, noise: str | None, inputs: str, test_inputs: str
    ) -> Job:
        """How one fold of a recipe is trained and predicted; `noise` names the run whose audit says what is dropped."""

        def write(held_out: pd.DataFrame | None, test: pd.DataFrame) -> None:
            # The held-out file says that the fold is trained, so it comes last.
            oof.write_fold(self.workspace.test_fold(recipe.name, fold), test, recipe.kind, test_inputs)
            if held_out is not None:
                oof.write_fold(self.workspace.oof_fold(recipe.name, fold), held_out, recipe.kind, inputs)

        def train() -> None:
            rows = self._rows(recipe, fold, noise)
            if isinstance(recipe, LexicalRecipe):
                write(*self._train_lexical(recipe, fold, rows, inputs))
            else:
                write(*self._train_encoder(recipe, fold, rows, inputs, encoder))

        def predict() -> None:
            folder = self.workspace.model(recipe.name, fold)
            if read_json(folder / "fold.json").get("inputs") != inputs:
                train()  # the weights are gone or are others: only training brings them back
            elif isinstance(recipe, LexicalRecipe):
                write(None, self._predict_lexical(folder))
            else:
                write(None, self._predict_encoder(recipe, fold, inputs, encoder))

        return Job(train, predict)

    def _rows(self, recipe: MemberRecipe, fold: int, noise: str | None) -> dict[str, np.ndarray]:
        """Positions in `examples` of the rows that a fold trains on, holds out and predicts.

        Only training rows are ever left out: for their label (unknown), the recipe's `rows`, or the audit.
        """
        examples = self.examples
        of_row = self.fold_of_rows(recipe.scheme)
        is_train = (examples["split"] == "train").to_numpy()
        held = (of_row == fold).to_numpy() & is_train
        learn = is_train & ~held & ~np.isnan(_target(recipe, examples))
        if recipe.rows == "task1":
            learn &= examples["task1"].to_numpy(bool)
        if noise is not None:
            from competition.noise import dropped_ids

            learn &= ~examples["example_id"].isin(dropped_ids(read_table(self.workspace.noise(noise)))).to_numpy()
        masks = {"train": learn, "held_out": held, "test": ~is_train}
        return {name: np.flatnonzero(mask) for name, mask in masks.items()}

    def _train_lexical(
        self, recipe: LexicalRecipe, fold: int, rows: dict[str, np.ndarray], inputs: str
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        from competition.ensemble.boosting import predict_lexical, save_booster, train_lexical

        features, ids = self.text_features, self.examples["example_id"].to_numpy()
        with progress(f"{recipe.name} fold {fold}", len(rows["train"])) as work:
            booster = train_lexical(recipe, features, self.examples.iloc[rows["train"]], fold)
            work.advance(len(rows["train"]))
        save_booster(self.workspace.model(recipe.name, fold), booster, inputs)
        held_out, test = (predict_lexical(booster, features, ids[rows[part]]) for part in ("held_out", "test"))
        return held_out, test

    def _predict_lexical(self, folder: Path) -> pd.DataFrame:
        from competition.ensemble.boosting import load_booster, predict_lexical

        ids = self.examples.loc[self.examples["split"] == "test", "example_id"].to_numpy()
        return predict_lexical(load_booster(folder), self.text_features, ids)

    def _corpus_of(self, recipe: EncoderRecipe, encoder: Path) -> "Corpus":
        from competition.training.finetune import Corpus

        key = (recipe.field_order, str(recipe.max_length), str(encoder))
        if self._corpus is None or self._corpus[0] != key:
            self._corpus = None  # free the old one first
            self._corpus = (key, Corpus.make(recipe, encoder, self.examples, self.products))
        return self._corpus[1]

    def _fold(self, recipe: EncoderRecipe, fold: int, rows: Mapping[str, np.ndarray], inputs: str) -> "Fold":
        from competition.training.finetune import Fold

        folder = self.workspace.model(recipe.name, fold)
        return Fold(fold, folder, inputs, rows["train"], rows["held_out"], rows["test"])

    def _train_encoder(
        self, recipe: EncoderRecipe, fold: int, rows: dict[str, np.ndarray], inputs: str, encoder: Path
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        from competition.training.finetune import train_fold
        from competition.training.loop import Log

        task = TASKS[KINDS[recipe.kind].primary]
        held_out = self.examples.iloc[rows["held_out"]]

        def score(outputs: pd.DataFrame) -> float:
            counts = evaluation.count_outputs(task, recipe.kind, outputs, held_out)
            return float(next(iter(counts.statistics.values()))(counts.values.sum(0)))

        log = Log(self.workspace.log(recipe.name), fold=fold)
        return train_fold(recipe, self._corpus_of(recipe, encoder), self._fold(recipe, fold, rows, inputs), log, score)

    def _predict_encoder(self, recipe: EncoderRecipe, fold: int, inputs: str, encoder: Path) -> pd.DataFrame:
        from competition.training.finetune import predict_fold

        none = np.empty(0, np.int64)
        test = np.flatnonzero(self.examples["split"] == "test")
        rows = {"train": none, "held_out": none, "test": test}
        return predict_fold(recipe, self._corpus_of(recipe, encoder), self._fold(recipe, fold, rows, inputs))

    def run_card(self, plan: RunPlan, recipe: MemberRecipe, folds_inputs: str, card: Card) -> None:
        """Write `run.json` of a complete recipe."""
        seeds = {str(fold): derive_seed(recipe.seed, recipe.name, fold) for fold in recipe.folds}
        self._write_card(plan, recipe.model_dump(mode="json"), folds_inputs, card, {"seeds": seeds})

    def _write_card(
        self, plan: RunPlan, recipe: dict[str, Any], folds_inputs: str, card: Card, extra: dict[str, Any]
    ) -> None:
        run = self.read_run(plan)
        content = {
            "inputs": plan.complete,
            "kind": plan.kind,
            "recipe": recipe,
            "data": {"train": card.train, "test": card.test},
            "folds": folds_inputs,
            "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
            "scores": self._scores(plan, run),
        }
        write_json(self.workspace.run_card(plan.name), {**content, **extra})

    def _scores(self, plan: RunPlan, run: oof.Run) -> dict[str, Any]:
        """Task -> metric -> group -> out-of-fold estimate."""
        train = self.examples[self.examples["split"] == "train"]
        scores: dict[str, Any] = {}
        for name in plan.tasks:
            if evaluation.graded_rows(TASKS[name], train).empty:
                continue
            found = evaluation.estimates(evaluation.count_outputs(TASKS[name], plan.kind, run.held_out, train))
            scores[name] = {
                metric: {group: vars(estimate) for group, estimate in groups.items()}
                for metric, groups in found.items()
            }
        return scores

    def read_run(self, plan: RunPlan) -> oof.Run:
        """A complete run, joined by id."""
        return oof.read_run(self.workspace, plan, self.examples)

    # --- audit, ensemble, submission ---

    def noise(self, plan: RunPlan, fraction: float, inputs: str) -> None:
        """Write `noise.parquet` of a run."""
        from competition.noise import audit

        train = self.examples[self.examples["split"] == "train"]
        flags = audit(self.read_run(plan).held_out, train, fraction)
        write_table(self.workspace.noise(plan.name), flags, inputs)

    def ensemble(
        self, plan: RunPlan, recipe: AverageRecipe, task: str, members: list[RunPlan], folds_inputs: str, card: Card
    ) -> None:
        """Write the run of an ensemble for one task."""
        from competition.ensemble.crossfit import cross_fit

        runs = [self.read_run(member) for member in members]
        fitted = cross_fit(TASKS[task], runs, self.examples, self.fold_of_rows("five"), recipe.rounds)
        for fold, (inputs, test_inputs) in zip(plan.folds, plan.parts, strict=True):
            oof.write_fold(self.workspace.test_fold(plan.name, fold), fitted.test[fold], plan.kind, test_inputs)
            oof.write_fold(self.workspace.oof_fold(plan.name, fold), fitted.held_out[fold], plan.kind, inputs)
        weights = {str(fold): fitted.weights[fold] for fold in plan.folds}
        made_from = {member.name: member.complete for member in members}
        extra = {"weights": weights, "members": made_from}
        self._write_card(plan, recipe.model_dump(mode="json"), folds_inputs, card, extra)

    def submission(self, name: str, plans: Mapping[str, RunPlan], inputs: str) -> None:
        """Write a submission: every file is checked before the first is written, and the log gets a line per file."""
        from io import StringIO

        files: dict[str, str] = {}
        for task_name, plan in plans.items():
            task = TASKS[task_name]
            answer = submissions.make_answer(task, plan.kind, self.read_run(plan).test, self.examples)
            text = submissions.to_csv(answer)
            read_back = submissions.read_answer(StringIO(text), task.file, task)
            submissions.check_answer(read_back, task.file, task, self.examples)
            files[task.file] = text
        made_from = {task: {"run": plan.name, "inputs": plan.complete} for task, plan in plans.items()}
        submissions.write_submission(self.workspace, name, files, {"inputs": inputs, "made_from": made_from})
        submissions.log_submission(self.workspace, [self._log_line(name, TASKS[t], p, files) for t, p in plans.items()])

    def _log_line(self, name: str, task: Task, plan: RunPlan, files: dict[str, str]) -> dict[str, Any]:
        import hashlib

        scores = read_json(self.workspace.run_card(plan.name)).get("scores", {})
        score = scores.get(task.name, {}).get(task.metric, {}).get("all", {})
        shown = {key: f"{score[value]:.6f}" if score else "" for key, value in _LOGGED.items()}
        digest = hashlib.sha256(files[task.file].encode()).hexdigest()
        line = {"submission": name, "task": task.name, "run": plan.name, "metric": task.metric, "sha256": digest}
        return {**line, **shown}


_LOGGED = {"out_of_fold": "value", "low": "low", "high": "high"}


def _target(recipe: MemberRecipe, examples: pd.DataFrame) -> np.ndarray:
    from competition.tasks import target

    return target(recipe.kind, examples)
