"""Out-of-fold files: the currency between models, ensembles, audits and submissions.

A run is a folder of `oof/`: `fold-K.parquet` holds the outputs of the rows held out in fold K,
`test-K.parquet` those of all test rows by the model of fold K. `pair-J-K.parquet`, where there are
any, holds the outputs of the rows of both folds by a nested model, which saw neither. Whatever
reads a run checks that each example is there exactly once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from competition.core.arrays import ascends
from competition.core.errors import CompError
from competition.core.fingerprint import fingerprint
from competition.core.lazy import pd
from competition.core.parquet import mean_by_id, read_columns, read_table, write_table
from competition.core.workspace import Workspace
from competition.scoring.basis import APPROXIMATE, HELD_OUT
from competition.scoring.task import Kind

_SUM_TOLERANCE = 1e-6


@dataclass(frozen=True)
class RunPlan:
    """A run as it should be, before a file of it is read."""

    name: str
    kind: Kind
    tasks: tuple[str, ...]  # that it answers
    command: str  # that makes it
    # Per fold, the fingerprints of the inputs of its held-out and its test file.
    parts: tuple[tuple[str, str], ...]
    scheme: str = "five"  # of its folds
    leaky: bool = False  # whether it reads what the competition did not mean to give away
    # How the label of a row reaches its prediction, see `config/label_paths.py`.
    label_paths: tuple[str, ...] = ()

    @property
    def folds(self) -> range:
        """The numbers of its folds."""
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
    kind: Kind
    held_out: pd.DataFrame  # example_id and outputs, sorted by example_id
    fold: NDArray[np.int64]  # (rows,) whose file each row of `held_out` came from
    test: pd.DataFrame  # the mean over the folds, sorted by example_id


def write_outputs(path: Path, outputs: pd.DataFrame, kind: Kind, inputs: str) -> None:
    """Write one `fold-K` or `test-K` file, checked and sorted by example_id."""
    check_outputs(outputs, kind, path.stem)

    columns = ["example_id", *kind.outputs]
    write_table(path, outputs[columns].sort_values("example_id", ignore_index=True), inputs)


def check_outputs(outputs: pd.DataFrame, kind: Kind, name: str) -> None:
    """Refuse outputs that cannot be those of a model.

    Raises:
        CompError: a column is missing, an example is duplicated, a value is not finite, or
            probabilities do not sum to 1.
    """
    columns = list(kind.outputs)
    missing = [column for column in columns if column not in outputs]
    if missing:
        raise CompError(f"{name}: the column {missing[0]!r} is missing.")

    # Of what is right, which is nearly all, nothing is picked out.
    ids = outputs["example_id"]
    if not (ascends(ids.to_numpy()) or ids.is_unique):
        raise CompError(f"{name}: example_id {ids[ids.duplicated()].iloc[0]} is duplicated.")

    # Column by column, as tables lie in memory.
    values = [outputs[column].to_numpy(np.float64) for column in columns]  # (rows,) each
    if not all(np.isfinite(column).all() for column in values):
        bad = ~np.isfinite(np.column_stack(values)).all(axis=1)
        raise CompError(
            f"{name}: {int(bad.sum())} rows are not finite, the first is {ids[bad].iloc[0]}."
        )

    total = np.zeros(len(ids))
    for column in values if kind.is_classes else ():
        total += column
    if kind.is_classes and len(ids) and max(total.max() - 1, 1 - total.min()) > _SUM_TOLERANCE:
        bad = np.abs(total - 1) > _SUM_TOLERANCE
        raise CompError(
            f"{name}: {int(bad.sum())} rows of probabilities do not sum to 1, the first is {ids[bad].iloc[0]}."
        )


def check_coverage(
    frame: pd.DataFrame, expected_ids: pd.Series | pd.Index[int], where: str
) -> None:
    """Refuse rows that are not the expected examples, each exactly once.

    Args:
        frame: rows with an example_id, in any order.
        expected_ids: the example_ids that it must hold.
        where: what messages call the rows, such as `the train rows in its folds`.

    Raises:
        CompError: naming the first id that is duplicated, missing or not expected.
    """
    ids = frame["example_id"]
    expected = expected_ids.to_numpy()
    # Most are in order.
    if np.array_equal(ids.to_numpy(), expected):
        return
    expected = np.sort(expected)
    if np.array_equal(np.sort(ids.to_numpy()), expected):
        return

    duplicated = ids[ids.duplicated()]
    if len(duplicated):
        reason = (
            f"{len(duplicated)} rows repeat another, example_id {duplicated.iloc[0]} is duplicated"
        )
    else:
        differing = np.setxor1d(ids, expected)
        reason = f"{len(differing)} ids differ, the first is {differing[0]}"
    raise CompError(f"{where}: {reason}.")


def read_nested(
    workspace: Workspace,
    name: str,
    kind: Kind,
    pairs: Mapping[tuple[int, ...], str],
    fold: pd.Series,
) -> dict[int, pd.DataFrame]:
    """Return, for each fold, outputs of all training rows by models that saw neither that fold nor the row's own.

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
    others: dict[int, list[pd.DataFrame]] = {}  # fold k -> outputs of the rows of another fold
    own: dict[int, list[pd.DataFrame]] = {}  # fold k -> outputs of its own rows

    for pair, inputs in pairs.items():
        path = workspace.pair(name, pair)
        outputs = read_table(path, inputs)
        check_outputs(outputs, kind, str(path))
        check_coverage(
            outputs,
            fold.index[fold.isin(pair)],
            f"{path} does not hold the rows of the folds {pair[0]} and {pair[1]} exactly once",
        )

        fold_of_row = outputs["example_id"].map(fold)
        for k, j in (pair, pair[::-1]):
            others.setdefault(k, []).append(outputs[fold_of_row == j])
            own.setdefault(k, []).append(outputs[fold_of_row == k])

    # Each row of k has an output of every model that left out k, a row of another fold has one.
    by_fold = {k: pd.concat([*others[k], mean_by_id(own[k])]) for k in sorted(own)}
    return {
        k: outputs.sort_values("example_id", ignore_index=True) for k, outputs in by_fold.items()
    }


def read_run(workspace: Workspace, plan: RunPlan, train_ids: pd.Series, test_ids: pd.Series) -> Run:
    """Read a run, joined by id.

    Args:
        workspace: where its files lie.
        plan: of the run.
        train_ids: the ids of the training rows.
        test_ids: the ids of the test rows.

    Raises:
        CompError: a fold is missing, damaged or made from other inputs than the plan's, or the
            files do not hold each example exactly once.
    """
    folds = [workspace.oof_fold(plan.name, fold) for fold in plan.folds]
    tests = [workspace.test_fold(plan.name, fold) for fold in plan.folds]

    # Before a file is read: a run that is still being made is the usual case.
    for fold in plan.folds:
        if not folds[fold].is_file() or not tests[fold].is_file():
            raise CompError(
                f"The run {plan.name!r} is not complete, its fold {fold} is missing: `{plan.command}` makes it."
            )

    remedy = f"`{plan.command}` rebuilds it"
    held_out_parts = []
    test_parts = []
    for fold, (held_out_inputs, test_inputs) in enumerate(plan.parts):
        held_out_part = pd.DataFrame(read_columns(folds[fold], held_out_inputs, remedy), copy=False)
        test_part = read_table(tests[fold], test_inputs, remedy)
        check_outputs(held_out_part, plan.kind, f"The run {plan.name!r}, fold {fold}")
        check_outputs(test_part, plan.kind, f"The run {plan.name!r}, test rows of fold {fold}")
        held_out_parts.append(held_out_part)
        test_parts.append(test_part)

    held_out, fold_of_row = _in_order(held_out_parts, plan.kind)

    refusal = f"The run {plan.name!r} does not cover the"

    check_coverage(held_out, train_ids, f"{refusal} train rows in its folds")
    for fold, test_part in enumerate(test_parts):
        check_coverage(test_part, test_ids, f"{refusal} test rows in its fold {fold}")

    return Run(
        name=plan.name,
        kind=plan.kind,
        held_out=held_out,
        fold=fold_of_row,
        test=mean_by_id(test_parts),
    )


def _in_order(parts: Sequence[pd.DataFrame], kind: Kind) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """Return the rows of all parts by example_id, and of which part each is, `(rows,)`."""
    ids = np.concatenate([part["example_id"] for part in parts])
    order = np.argsort(ids, kind="stable")

    # Column by column: a table is joined and sorted in twice the time and memory.
    values, joined = np.empty((len(kind.outputs), len(order))), np.empty(len(order))
    for row, column in zip(values, kind.outputs, strict=True):
        np.concatenate([part[column] for part in parts], out=joined)
        np.take(joined, order, out=row, mode="clip")  # other modes copy what they write
    outputs = pd.DataFrame(values.T, columns=list(kind.outputs), copy=False)
    outputs.insert(0, "example_id", ids[order])

    of_row = np.repeat(np.arange(len(parts)), [len(part) for part in parts])[order]
    return outputs, of_row


def check_parts(run: Run, fold: pd.Series, scheme: str) -> None:
    """Refuse a run whose folds are made of other parts than the others'.

    Args:
        run: complete.
        fold: the fold of every training row, by example_id, from the file of the scheme.
        scheme: of the run.

    Raises:
        CompError: naming the run, the first such fold and the number of rows.
    """
    ids = run.held_out["example_id"].to_numpy()
    if not np.array_equal(fold.index.to_numpy(), ids):
        fold = fold.loc[ids]
    expected = fold.to_numpy()
    moved = run.fold != expected  # (rows,)

    if moved.any():
        first = int(run.fold[moved][0])
        rows = int((moved & (run.fold == first)).sum())
        raise CompError(
            f"The run {run.name!r} holds {rows} rows in its fold {first} that folds/{scheme}.parquet puts elsewhere, "
            "it was trained on other parts: train it again."
        )
