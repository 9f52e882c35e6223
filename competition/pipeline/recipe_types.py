"""One type per kind of recipe that is trained on folds: functions that plan, train and predict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from competition.config.encoder_recipe import EncoderRecipe
from competition.config.recipe import ImportedRecipe, LexicalRecipe, MemberRecipe
from competition.pipeline import encoder_type, imported_type, lexical_type

if TYPE_CHECKING:
    from pathlib import Path

    from competition.core.lazy import pd
    from competition.pipeline.artifacts import Artifacts
    from competition.pipeline.execute import Step
    from competition.pipeline.input_steps import InputSteps
    from competition.pipeline.keys import FoldPlan
    from competition.pipeline.plan import Plan
    from competition.pipeline.predict_new import PreparedRows
    from competition.pipeline.rows import FoldRows
    from competition.pipeline.tables import Tables

R = TypeVar("R", bound=MemberRecipe)


@dataclass(frozen=True)
class RecipeType(Generic[R]):
    """The functions in which the recipes that are trained on folds differ."""

    # Planning: the fingerprints of what the weights start from, and of the rows that are added.
    artifacts: Callable[[Artifacts, R], tuple[str, ...]]
    added_rows: Callable[[Artifacts, R], str | None]
    # The folders beside a model that its text is read with.
    folders: Callable[[Artifacts, R], list[Path]]
    # The steps that build what training reads beside the rows and their folds.
    inputs: Callable[[InputSteps, Plan, R], list[Step]]
    # Train a model, save it, and return its outputs of the held-out and of the test rows.
    train: Callable[[Tables, Plan, FoldPlan[R], FoldRows], tuple[pd.DataFrame, pd.DataFrame]]
    # Return the outputs of the test rows by a model that was saved.
    predict: Callable[[Tables, Plan, FoldPlan[R]], pd.DataFrame]
    # Return a function that predicts rows of no workspace by each of some models.
    new_rows_predictor: Callable[
        [Plan, list[FoldPlan[R]]], Callable[[PreparedRows], list[pd.DataFrame]]
    ]
    # Whether the processes of a launch share the training, see `execute`.
    shared: bool


ENCODER = RecipeType[EncoderRecipe](
    encoder_type.artifacts,
    encoder_type.added_rows,
    encoder_type.folders,
    encoder_type.inputs,
    encoder_type.train,
    encoder_type.predict,
    encoder_type.new_rows_predictor,
    shared=True,
)
LEXICAL = RecipeType[LexicalRecipe](
    lexical_type.artifacts,
    lexical_type.added_rows,
    lexical_type.folders,
    lexical_type.inputs,
    lexical_type.train,
    lexical_type.predict,
    lexical_type.new_rows_predictor,
    shared=False,
)
IMPORTED = RecipeType[ImportedRecipe](
    imported_type.artifacts,
    imported_type.added_rows,
    imported_type.folders,
    imported_type.inputs,
    imported_type.train,
    imported_type.predict,
    imported_type.new_rows_predictor,
    shared=False,
)
TYPES: Mapping[str, RecipeType[Any]] = {
    "encoder": ENCODER,
    "lexical": LEXICAL,
    "imported": IMPORTED,
}


def type_of(recipe: MemberRecipe) -> RecipeType[Any]:
    """Return the type of a recipe that is trained on folds."""
    return TYPES[recipe.model]
