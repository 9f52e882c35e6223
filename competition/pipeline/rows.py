"""The rows that a model trains on, holds out and predicts, and the targets of training."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from competition.config.recipe import MemberRecipe
from competition.core.console import warn
from competition.core.errors import CompError
from competition.core.json_files import read_json
from competition.core.lazy import pd
from competition.core.parquet import read_table
from competition.data.folds import first_queries
from competition.data.score_scale import ScoreScale
from competition.data.targets import Targets, mix_teacher, teacher_targets
from competition.noise.plan import NestedModels
from competition.pipeline.keys import PAIRED, FoldPlan
from competition.pipeline.tables import Tables
from competition.scoring import predictions
from competition.scoring.predictions import RunPlan
from competition.scoring.task import Kind


@dataclass(frozen=True)
class FoldRows:
    """The sides of a fold: positions in `examples`, `(rows,)` each, disjoint."""

    train: NDArray[np.int64]
    held_out: NDArray[np.int64]
    test: NDArray[np.int64]

    @property
    def without_test(self) -> FoldRows:
        """These rows without those of the test split."""
        return replace(self, test=self.test[:0])


def sides(
    recipe: MemberRecipe,
    kind: Kind,
    examples: pd.DataFrame,
    fold: pd.Series,
    held: tuple[int, ...],
) -> dict[str, NDArray[np.bool_]]:
    """Return the rows that a model trains on, before an audit leaves any out, holds out and predicts.

    Args:
        recipe: what is learned.
        kind: of its predictions.
        examples: all rows.
        fold: of each row.
        held: the folds that the model never sees.

    Returns:
        `train`, `held_out` and `test`: masks, `(rows,)` each.
    """
    is_train = (examples["split"] == "train").to_numpy()
    held_out = fold.isin(held).to_numpy() & is_train
    # A row without a label for the recipe's kind has NaN as its target.
    train = is_train & ~held_out & ~np.isnan(kind.numeric_target(examples))
    if recipe.rows != "all":
        train &= examples[recipe.rows].to_numpy(bool)
    if recipe.train_queries:
        train &= first_queries(examples, recipe.train_queries)

    return {"train": train, "held_out": held_out, "test": ~is_train}


def fold_rows(tables: Tables, fold: FoldPlan[MemberRecipe]) -> FoldRows:
    """Return the rows that a model trains on, holds out and predicts.

    Only training rows are ever left out: for their label (unknown), the recipe's `rows`, or the
    audit.

    Raises:
        CompError: no row is left to train on.
    """
    recipe = fold.recipe
    examples = tables.examples
    kind = tables.contest.kind(recipe.kind)
    masks = sides(recipe, kind, examples, tables.fold_of_rows(fold.scheme), fold.held)
    train = masks["train"]
    if not train.any():
        where = f" outside fold {fold.name}" if fold.held else ""
        raise CompError(
            f"The recipe {recipe.name!r} finds no labelled row to learn {recipe.kind} from{where}: "
            "take it out of `recipes` (and `noise_run`) of competition.toml."
        )

    if recipe.drop_noise_from and fold.audit is not None:
        from competition.noise.actions import dropped_ids

        dropped = dropped_ids(tables.flags(fold.audit))
        train &= ~examples["example_id"].isin(dropped).to_numpy()

    positions = np.flatnonzero(train)
    if fold.teacher is not None:
        # Rows without labels come behind those that have some.
        ids = pd.Index(tables.rows_for(recipe)["example_id"])
        taught = ids.get_indexer(pd.Index(taught_outputs(tables, fold)["example_id"]))
        positions = np.concatenate([positions, taught])
    return FoldRows(positions, np.flatnonzero(masks["held_out"]), np.flatnonzero(masks["test"]))


def taught_outputs(tables: Tables, fold: FoldPlan[MemberRecipe]) -> pd.DataFrame:
    """Return what a fold's teacher says of test and unlabelled rows: example_id and outputs, perhaps none.

    They are those of its model that left out the fold; of a model of all rows the mean over its
    folds.
    """
    recipe = fold.recipe
    teacher = fold.teacher
    assert teacher is not None
    run = teacher.run
    parts = []
    if run is not None and "test" in recipe.distill_rows:
        parts.append(_test_outputs(tables, run, fold.held))
    if teacher.predict_unlabelled is not None:
        parts.append(teacher.predict_unlabelled(tables))

    empty = pd.DataFrame({"example_id": np.zeros(0, np.int64)})
    outputs = pd.concat(parts, ignore_index=True) if parts else empty
    if recipe.distill_confidence and len(outputs):
        values = teacher.kind.values(outputs)
        highest = (
            values.max(axis=1) if teacher.kind.is_classes else np.maximum(values, 1 - values)[:, 0]
        )
        outputs = outputs[highest >= recipe.distill_confidence]
    return outputs.sort_values("example_id", ignore_index=True)


def _test_outputs(tables: Tables, run: RunPlan, held: tuple[int, ...]) -> pd.DataFrame:
    """Return the outputs of the test rows by the model that left out a fold."""
    if not held:
        return tables.read_run(run).test
    (number,) = held
    return read_table(tables.workspace.test_fold(run.name, number), run.parts[number][1])


def fold_targets(
    tables: Tables, fold: FoldPlan[MemberRecipe], train: NDArray[np.int64]
) -> Targets | None:
    """Return the targets of the rows at `train`, in their order; None where labels are all."""
    from competition.noise import actions

    recipe = fold.recipe
    audit = fold.audit
    teacher = fold.teacher
    if not (recipe.weight_noise_from or recipe.relabel_noise_from or recipe.distill_from):
        return None

    taught = None if teacher is None else taught_outputs(tables, fold)
    labelled = train if taught is None else train[: len(train) - len(taught)]
    rows = tables.examples.iloc[labelled]
    ids = rows["example_id"].to_numpy(np.int64)
    kind = tables.contest.kind(recipe.kind)
    targets = Targets.of_labels(kind, rows)
    if recipe.weight_noise_from and audit is not None:
        # An audit that doubts itself weighs nothing, unless that is overruled.
        card = read_json(tables.workspace.noise_card(audit.name, audit.fold))
        if not card.get("doubts") or audit.keys.despite_doubts:
            targets = actions.weight_by_quality(targets, ids, tables.flags(audit))
    if recipe.relabel_noise_from and audit is not None:
        targets = actions.soften_labels(targets, kind, ids, tables.flags(audit))

    if teacher is None or taught is None:
        return targets

    of_teacher = teacher.kind
    held = fold.held[0] if fold.held else None
    _warn_if_never_sure(recipe, taught)
    outputs = None
    if teacher.run is not None and (recipe.teaches_labelled or of_teacher.role == "score"):
        outputs = outputs_seen_from(tables, teacher.run, teacher.pairs, held)
    if outputs is not None and of_teacher.role == "score":
        # Of rows that the fold trains on: no label that it holds out.
        scores = outputs.set_index("example_id").loc[ids]
        scale = ScoreScale.fit(tables.contest, kind, of_teacher.values(scores)[:, 0], rows)
        of_teacher, outputs = scale.kind, scale.outputs(outputs)
        taught = scale.outputs(taught) if len(taught) else taught

    # A teacher is mixed with the labels as the audit left them.
    if outputs is not None and recipe.teaches_labelled:
        targets = mix_teacher(targets, kind, ids, of_teacher, outputs, recipe.distill_weight)
    if len(taught):
        hard = recipe.distill_confidence > 0
        targets = targets.followed_by(teacher_targets(kind, of_teacher, taught, hard))
    return targets


def _warn_if_never_sure(recipe: MemberRecipe, taught: pd.DataFrame) -> None:
    """Warn where a teacher was to give pseudo-labels, and gives none."""
    if recipe.distill_confidence and recipe.distill_rows != ("labelled",) and not len(taught):
        warn(
            f"{recipe.name}: its teacher is never as sure as distill_confidence = {recipe.distill_confidence}, so that "
            "no pseudo-label is left: lower it."
        )


def outputs_seen_from(
    tables: Tables, run: RunPlan, pairs: NestedModels | None, fold: int | None
) -> pd.DataFrame:
    """Return the out-of-fold outputs of a run; with `pairs`, by its nested models that never saw `fold` either."""
    if pairs is None or fold is None:
        return tables.read_run(run).held_out

    of_fold = tables.fold_of_training(PAIRED)
    return predictions.read_nested(tables.workspace, run.name, run.kind, pairs, of_fold)[fold]
