"""LightGBM on text features: the member `lexical`, the floor that every model is shown against."""

from pathlib import Path

import lightgbm as lgb
import numpy as np
import pandas as pd

from competition.config.recipe import LexicalRecipe
from competition.core.atomic import atomic_folder, write_text
from competition.core.console import Progress
from competition.core.json_files import write_manifest
from competition.data.targets import Targets
from competition.scoring.tasks import KINDS, LABELS, numeric_target

# Of all trees here: each is grown on a part of rows and features, which suits few rows and many
# related features.
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
    features: pd.DataFrame,
    rows: pd.DataFrame,
    fold: str,
    lesson: Targets | None = None,
    work: Progress | None = None,
) -> lgb.Booster:
    """Fit four classes on the features of `rows` (examples with a label), joined by example_id; deterministic.

    LightGBM takes one class per row, so a row that teaches several by `lesson` is there once for
    each of them, of a weight that is its share. `work` counts trees.
    """
    y, weight, copies = numeric_target(recipe.kind, rows), None, np.arange(len(rows))
    if lesson is not None:
        copies, classes = np.nonzero(lesson.target)
        y, weight = (
            classes.astype(np.float64),
            lesson.target[copies, classes] * lesson.weight[copies],
        )
    x = features.loc[rows["example_id"]].to_numpy()[copies]
    data = lgb.Dataset(x, y, weight=weight, feature_name=list(features.columns))
    per_row = len(copies) / len(rows)  # a leaf must hold as many rows as without copies
    parameters = TREE_DEFAULTS | {
        "objective": "multiclass",
        "num_class": len(LABELS),
        "learning_rate": recipe.learning_rate,
        "num_leaves": recipe.num_leaves,
        "min_data_in_leaf": round(recipe.min_data_in_leaf * per_row),
        "seed": recipe.fold_seed(recipe.seed, fold),
    }
    callbacks = [lambda _: work.advance(1)] if work is not None else []
    return lgb.train(parameters, data, num_boost_round=recipe.n_estimators, callbacks=callbacks)


def predict_lexical(
    booster: lgb.Booster, features: pd.DataFrame, example_ids: np.ndarray
) -> pd.DataFrame:
    """example_id and class probabilities of some examples."""
    columns = list(KINDS["classes"].outputs)
    if not len(example_ids):
        return pd.DataFrame({"example_id": example_ids} | dict.fromkeys(columns, 0.0))
    values = np.asarray(booster.predict(features.loc[example_ids].to_numpy()), np.float64)
    frame = pd.DataFrame(values / values.sum(axis=1, keepdims=True), columns=columns)
    frame.insert(0, "example_id", example_ids)
    return frame


def save_booster(folder: Path, booster: lgb.Booster, inputs: str) -> None:
    """Write a fold's trees as text with the fingerprint of what they were made from."""
    with atomic_folder(folder) as temporary:
        write_text(temporary / "model.txt", booster.model_to_string())
        write_manifest(temporary, inputs)


def load_booster(folder: Path) -> lgb.Booster:
    """The trees of a fold."""
    return lgb.Booster(model_file=folder / "model.txt")
