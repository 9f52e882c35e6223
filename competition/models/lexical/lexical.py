"""LightGBM on text features: the recipe `lexical`, the baseline that every model is compared with."""

from pathlib import Path

import lightgbm as lgb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.config.recipe import LexicalRecipe
from competition.core.atomic import atomic_folder, write_text
from competition.core.console import Progress
from competition.core.json_files import write_manifest
from competition.data.targets import Targets
from competition.scoring.task import Kind

# Of all trees, those of stackers included: each is grown on a part of the rows and features, which
# suits few rows and many related features.
TREE_DEFAULTS: dict[str, object] = {
    "feature_fraction": 0.2,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}


def train_lexical(
    recipe: LexicalRecipe,
    kind: Kind,
    features: pd.DataFrame,
    rows: pd.DataFrame,
    fold: str,
    targets: Targets | None = None,
    work: Progress | None = None,
) -> lgb.Booster:
    """Fit labels on text features by the log loss of classes or the squared error of a number.

    LightGBM takes one class per row, so a row with a soft target is repeated for each of its
    classes, weighted by its share. The same inputs give the same trees.

    Args:
        recipe: the size of the trees.
        kind: of the predictions.
        features: by example_id.
        rows: examples with a label.
        fold: the name of the fold, which the seed depends on.
        targets: of the rows, in their order; None for their labels.
        work: counts trees.
    """
    if targets is None:
        copies = np.arange(len(rows))
        y = kind.numeric_target(rows)
        weight = None
    elif kind.is_number:
        copies = np.arange(len(rows))
        y = targets.target[:, 0]
        weight = targets.weight
    else:
        copies, classes = np.nonzero(targets.target)  # (copies,) each: row and class
        y = classes.astype(np.float64)
        weight = targets.target[copies, classes] * targets.weight[copies]

    x = features.loc[rows["example_id"]].to_numpy()[copies]  # (copies, features)
    data = lgb.Dataset(x, y, weight=weight, feature_name=list(features.columns))

    # A leaf must hold as many different rows as it would without copies.
    copies_per_row = len(copies) / len(rows)
    parameters = TREE_DEFAULTS | {
        **_objective(kind),
        "learning_rate": recipe.learning_rate,
        "num_leaves": recipe.num_leaves,
        "min_data_in_leaf": round(recipe.min_data_in_leaf * copies_per_row),
        "seed": recipe.fold_seed(recipe.seed, fold),
    }
    callbacks = [lambda _: work.advance(1)] if work is not None else []
    return lgb.train(parameters, data, num_boost_round=recipe.n_estimators, callbacks=callbacks)


def _objective(kind: Kind) -> dict[str, object]:
    """Return what LightGBM minimises."""
    if kind.is_number:
        return {"objective": "regression"}
    if not kind.is_classes:
        return {"objective": "binary"}
    return {"objective": "multiclass", "num_class": kind.targets}


def predict_lexical(
    booster: lgb.Booster, kind: Kind, features: pd.DataFrame, example_ids: NDArray[np.int64]
) -> pd.DataFrame:
    """Return example_id and the outputs of a kind for some examples."""
    columns = list(kind.outputs)
    if not len(example_ids):
        return pd.DataFrame({"example_id": example_ids} | dict.fromkeys(columns, 0.0))

    values = np.asarray(booster.predict(features.loc[example_ids].to_numpy()), np.float64)
    frame = pd.DataFrame(_outputs(kind, values), columns=columns)
    frame.insert(0, "example_id", example_ids)
    return frame


def _outputs(kind: Kind, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what LightGBM says, `(rows, classes)` or `(rows,)`, as the outputs of a kind, `(rows, outputs)`."""
    if kind.is_classes:
        probabilities: NDArray[np.float64] = values / values.sum(axis=1, keepdims=True)
        return probabilities

    # Sums of trees may leave the range of the numbers that they learned.
    units = np.clip(values, 0.0, 1.0)[:, None]
    return kind.from_unit(units) if kind.role == "rating" else units


def save_booster(folder: Path, booster: lgb.Booster, inputs: str) -> None:
    """Write a fold's trees as text, with the fingerprint of their inputs."""
    with atomic_folder(folder) as temporary:
        write_text(temporary / "model.txt", booster.model_to_string())
        write_manifest(temporary, inputs)


def load_booster(folder: Path) -> lgb.Booster:
    """Return the trees of a fold."""
    return lgb.Booster(model_file=folder / "model.txt")
