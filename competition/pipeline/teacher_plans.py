"""What a recipe distils: the run or the file that teaches it, and what that is made from."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from competition.config.keys import UNLABELLED_FILE
from competition.config.recipe import EnsembleRecipe, ImportedRecipe, MemberRecipe
from competition.core.errors import InputError
from competition.core.fingerprint import fingerprint
from competition.pipeline.keys import TeacherPlan
from competition.pipeline.unlabelled import (
    predict_unlabelled,
    read_unlabelled_outputs,
    unlabelled_columns,
)
from competition.scoring.predictions import RunPlan

if TYPE_CHECKING:
    from competition.pipeline.plan import Plan


def plan_teacher(
    plan: Plan, recipe: MemberRecipe, fold: int | None, held: tuple[int, ...]
) -> TeacherPlan:
    """Return the run that a recipe distils.

    Args:
        plan: of the workspace.
        recipe: the student.
        fold: whose labels nested models of the teacher must not have seen; None reads the teacher's own outputs.
        held: the folds that the student's model leaves out; none for a model of all rows.

    Raises:
        InputError: the teacher does not predict what the student learns, or its folds are
            others.
    """
    name = recipe.distill_from
    if name == UNLABELLED_FILE:
        return _teacher_of_file(plan, recipe)
    # Of an ensemble there is a run per task: the one that answers what the student learns.
    kind = plan.recipes.kind_of(recipe)
    task = kind.primary if kind.role in ("positive", "rating") else plan.contest.audited_task
    run = plan.run_for(name, task or kind.primary)
    if run.kind.name not in ("classes", "score", kind.name):
        raise InputError(
            f"{recipe.name!r} learns {recipe.kind}, and its teacher {name!r} predicts {run.kind.name}."
        )
    if run.scheme != recipe.scheme:
        raise InputError(
            f"{recipe.name!r} has the folds of {recipe.scheme!r} and its teacher {name!r} those of {run.scheme!r}: "
            "they must be the same, or the student's held-out rows taught its teacher."
        )

    pairs = None if fold is None else plan.pairs_of(run.name, fold)
    mixed = run.held_out_fingerprint
    if pairs is not None:
        mixed = fingerprint([fold, list(pairs.values())])
    others = _taught(plan, recipe, run, held)
    if not others:
        return TeacherPlan(run, run.kind, pairs, mixed)

    predict = None
    if "unlabelled" in recipe.distill_rows:
        teacher = plan.recipes.member(run.name)
        models = [plan.fold(teacher, k) for k in held or teacher.folds]
        predict = partial(predict_unlabelled, plan, models)
    # Scores get their scale from out-of-fold ones, whichever rows they teach.
    reads_mixed = recipe.teaches_labelled or run.kind.role == "score"
    made_from = [mixed if reads_mixed else "", *others]
    return TeacherPlan(run, run.kind, pairs, fingerprint(made_from), predict)


def _teacher_of_file(plan: Plan, recipe: MemberRecipe) -> TeacherPlan:
    """Return the teacher whose outputs came with the unlabelled rows.

    Raises:
        InputError: there are none, or they are not what the student learns.
    """
    content = plan.artifacts.unlabelled_fingerprint()
    own = plan.recipes.kind_of(recipe)
    columns = unlabelled_columns(plan.workspace)
    kinds = [own, *(kind for kind in plan.contest.kinds.values() if kind.is_classes)]
    kind = next((kind for kind in kinds if set(kind.outputs) <= columns), None)
    if kind is None:
        raise InputError(
            f"{recipe.name!r} learns {recipe.kind} from what came with the unlabelled rows, and these have no "
            f"columns {', '.join(own.outputs)}: import them again with such columns."
        )
    if recipe.distill_confidence and kind.is_number:
        raise InputError(
            f"{recipe.name!r}: distill_confidence is for classes, and its teacher predicts {kind.name}."
        )
    return TeacherPlan(None, kind, None, content, partial(read_unlabelled_outputs, kind))


def _taught(plan: Plan, recipe: MemberRecipe, run: RunPlan, held: tuple[int, ...]) -> list[str]:
    """Return the fingerprints of what a teacher says of rows without labels.

    Raises:
        InputError: there are no such rows, or the teacher cannot speak of them.
    """
    rows = [each for each in recipe.distill_rows if each != "labelled"]
    if not rows:
        return []
    if recipe.distill_confidence and run.kind.is_number:
        raise InputError(
            f"{recipe.name!r}: distill_confidence is for classes, and its teacher {run.name!r} predicts "
            f"{run.kind.name}."
        )

    parts = [run.parts[k] for k in held] or list(run.parts)
    made_from: list[str] = []
    if "test" in rows:
        if not plan.card.has_test_rows:
            raise InputError(f"{recipe.name!r} is taught on test rows, and the data have none.")
        made_from += [test for _, test in parts]
    if "unlabelled" in rows:
        teacher = plan.recipe_of(run.name)
        if isinstance(teacher, EnsembleRecipe | ImportedRecipe):
            raise InputError(
                f"{recipe.name!r} is taught on unlabelled rows, and its teacher {run.name!r} has no model of its "
                "own that could predict them: name a recipe that is trained."
            )
        made_from += [held_out for held_out, _ in parts]
        made_from.append(plan.artifacts.unlabelled_fingerprint())
    return made_from
