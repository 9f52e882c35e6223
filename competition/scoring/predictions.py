"""Out-of-fold files: the currency between models, ensembles, audits and submissions.

A run is a folder of `oof/`: `fold-K.parquet` holds the outputs of the rows held out in fold K,
`test-K.parquet` those of all test rows by the model of fold K. `pair-J-K.parquet`, where there are
any, holds the outputs of the rows of both folds by a nested model, which saw neither. Whatever
reads a run checks that each example is there exactly once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from competition.core.errors import CompError
from competition.core.fingerprint import fingerprint
from competition.core.lazy_pandas import pd
from competition.core.parquet import mean_by_id, read_table, write_table
from competition.core.workspace import Workspace
from competition.scoring.basis import APPROXIMATE, HELD_OUT
from competition.scoring.tasks import KINDS

_SUM_TOLERANCE = 1e-6


@dataclass(frozen=True)
class RunPlan:
    """A run as it should be, before a file of it is read."""

    name: str
    kind: str
    tasks: tuple[str, ...]  # that it answers
    command: str  # that makes it
    parts: tuple[
        tuple[str, str], ...
    ]  # per fold, the fingerprints of the inputs of its held-out and its test file
    scheme: str = "five"  # of its folds
    leaky: bool = False  # whether it reads what the competition did not mean to give away
    label_paths: tuple[
        str, ...
    ] = ()  # how the label of a row reaches what is said of it, see `config/label_paths.py`

    @property
    def folds(self) -> range:
        return range(len(self.parts))

    @property
    def basis(self) -> str:
        """`held-out` or `approximate`: what its out-of-fold scores are."""
        return APPROXIMATE if self.label_paths else HELD_OUT

    @property
    def held_out_fingerprint(self) -> str:
        """The fingerprint of all out-of-fold outputs."""
        return fingerprint([held_out for held_out, _ in self.parts])

    @property
    def fingerprint(self) -> str:
        """The fingerprint of all outputs."""
        return fingerprint(self.parts)


@dataclass(frozen=True)
class Run:
    """A complete run: outputs of every training row by a model that never saw it, and of every test row."""

    name: str
    kind: str
    held_out: pd.DataFrame  # example_id and outputs, sorted by example_id
    fold: NDArray[np.int64]  # (rows,) whose file each row of `held_out` came from
    test: pd.DataFrame  # the mean over the folds, sorted by example_id


def write_outputs(path: Path, outputs: pd.DataFrame, kind: str, inputs: str) -> None:
    """Write one `fold-K` or `test-K` file, checked and sorted by example_id."""
    check_outputs(outputs, kind, path.stem)
    columns = ["example_id", *KINDS[kind].outputs]
    write_table(path, outputs[columns].sort_values("example_id", ignore_index=True), inputs)


def check_outputs(outputs: pd.DataFrame, kind: str, name: str) -> None:
    """Raises CompError when an example is there twice, a value is not finite or probabilities do not sum to 1."""
    columns = list(KINDS[kind].outputs)
    missing = [column for column in columns if column not in outputs]
    if missing:
        raise CompError(f"{name}: the column {missing[0]!r} is missing.")
    twice = outputs["example_id"].duplicated()
    if twice.any():
        raise CompError(
            f"{name}: example_id {outputs.loc[twice, 'example_id'].iloc[0]} is there twice."
        )
    values = outputs[columns].to_numpy(np.float64)
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise CompError(
            f"{name}: {int(bad.sum())} rows are not finite, the first is {outputs['example_id'][bad].iloc[0]}."
        )
    if KINDS[kind].probabilities:
        bad = np.abs(values.sum(axis=1) - 1) > _SUM_TOLERANCE
        if bad.any():
            first = outputs["example_id"][bad].iloc[0]
            raise CompError(
                f"{name}: {int(bad.sum())} rows of probabilities do not sum to 1, the first is {first}."
            )


def read_nested(
    workspace: Workspace,
    name: str,
    kind: str,
    pairs: Mapping[tuple[int, ...], str],
    fold: pd.Series,
) -> dict[int, pd.DataFrame]:
    """For each fold, the outputs of all training rows by nested models, none of which saw that fold or the row's own.

    A nested model leaves out two folds. Seen from fold k, the rows of another fold j have the
    outputs of the model that left out j and k, the rows of k the mean of the models that left out
    k.

    Args:
        workspace: where the files lie.
        name: the recipe.
        kind: of its outputs.
        pairs: per model, its two folds and the fingerprint of what it is made from.
        fold: the fold of every training row, by example_id.

    Returns:
        Fold -> example_id and outputs, sorted by example_id.

    Raises:
        CompError: a file is missing, damaged or out of date, or does not hold the rows of its two
            folds exactly once.
    """
    others: dict[int, list[pd.DataFrame]] = {}
    own: dict[int, list[pd.DataFrame]] = {}
    for pair, inputs in pairs.items():
        path = workspace.pair(name, pair)
        outputs = read_table(path, inputs)
        check_outputs(outputs, kind, str(path))
        if not np.array_equal(np.sort(outputs["example_id"]), np.sort(fold.index[fold.isin(pair)])):
            raise CompError(
                f"{path} does not hold the rows of the folds {pair[0]} and {pair[1]} exactly once."
            )
        of_row = outputs["example_id"].map(fold)
        for k, j in (pair, pair[::-1]):
            others.setdefault(k, []).append(outputs[of_row == j])
            own.setdefault(k, []).append(outputs[of_row == k])
    seen = {k: pd.concat([*others[k], mean_by_id(own[k])]) for k in sorted(own)}
    return {k: outputs.sort_values("example_id", ignore_index=True) for k, outputs in seen.items()}


def read_run(workspace: Workspace, plan: RunPlan, examples: pd.DataFrame) -> Run:
    """A run joined by id.

    Raises:
        CompError: a fold is missing, damaged or made from other inputs than the plan's, or the
            files do not hold each example exactly once.
    """
    name, kind = plan.name, plan.kind
    for fold in plan.folds:
        if (
            not workspace.oof_fold(name, fold).is_file()
            or not workspace.test_fold(name, fold).is_file()
        ):
            raise CompError(
                f"The run {name!r} is not complete, its fold {fold} is missing: `{plan.command}` makes it."
            )
    mend = f"`{plan.command}` makes it anew"
    parts = [
        read_table(workspace.oof_fold(name, k), inputs, mend)
        for k, (inputs, _) in enumerate(plan.parts)
    ]
    tests = [
        read_table(workspace.test_fold(name, k), inputs, mend)
        for k, (_, inputs) in enumerate(plan.parts)
    ]
    for fold in plan.folds:
        check_outputs(parts[fold], kind, f"The run {name!r}, fold {fold}")
        check_outputs(tests[fold], kind, f"The run {name!r}, test rows of fold {fold}")
    held_out = pd.concat([part.assign(_fold=k) for k, part in enumerate(parts)])
    held_out = held_out.sort_values("example_id", ignore_index=True)
    by_split = examples.groupby("split")["example_id"]
    covered = [
        ("its folds", held_out, "train"),
        *((f"its fold {k}", t, "test") for k, t in enumerate(tests)),
    ]
    for where, part, split in covered:
        wanted = np.sort(by_split.get_group(split).to_numpy())
        if not np.array_equal(np.sort(part["example_id"].to_numpy()), wanted):
            twice = part.loc[part["example_id"].duplicated(), "example_id"]
            stray = np.setxor1d(part["example_id"], wanted)
            trouble = (
                f"{len(twice)} rows repeat another, example_id {twice.iloc[0]} is there twice"
                if len(twice)
                else f"{len(stray)} ids differ, the first is {stray[0]}"
            )
            raise CompError(
                f"The run {name!r} does not cover the {split} rows in {where}: {trouble}."
            )
    return Run(
        name,
        kind,
        held_out.drop(columns="_fold"),
        held_out["_fold"].to_numpy(np.int64),
        mean_by_id(tests),
    )


def check_parts(run: Run, fold: pd.Series, scheme: str) -> None:
    """Refuse a run whose folds are made of other parts than the others'.

    Args:
        run: complete.
        fold: the fold of every training row, by example_id, from the file of the scheme.
        scheme: of the run.

    Raises:
        CompError: naming the run, the first such fold and the number of rows.
    """
    wanted = fold.loc[run.held_out["example_id"]].to_numpy()
    astray = run.fold != wanted
    if astray.any():
        first = int(run.fold[astray][0])
        raise CompError(
            f"The run {run.name!r} holds {int((astray & (run.fold == first)).sum())} rows in its fold {first} that "
            f"folds/{scheme}.parquet puts elsewhere, it was trained on other parts: train it anew."
        )
