"""A student that servers load, which learns from a run that they do not."""

from pathlib import Path
from typing import Any

from competition.analysis.members import check_run_name
from competition.config.encoder_recipe import EncoderRecipe
from competition.config.loading import change_recipe
from competition.config.recipe import EnsembleRecipe
from competition.config.settings import BUILT_IN
from competition.config.variants import write_variant
from competition.core.errors import CompError, InputError
from competition.core.workspace import Workspace
from competition.pipeline.execute import in_order, unmet_sentence
from competition.pipeline.steps import Pipeline

BASE = "served"  # the recipe that a student varies


def write_student(workspace: Workspace, teacher: str, name: str, changes: dict[str, Any]) -> Path:
    """Write the recipe of a student, or find it as it would be written; return its file.

    It predicts what its teacher does over the same folds, and learns the labels of training rows and
    what the teacher says of test rows, so that its score is held out where the teacher is a recipe.
    Where there are no test rows, the teacher's out-of-fold outputs are mixed into the labels.

    Args:
        workspace: of the teacher.
        teacher: a run.
        name: of the student.
        changes: keys of its recipe that somebody wrote, which go before all others.

    Raises:
        InputError: the name is taken, the student could not be served, or it cannot learn from this
            teacher; nothing is written.
        CompError: the teacher is missing or out of date; nothing is written.
    """
    pipeline = Pipeline(workspace)
    plan = pipeline.plan
    contest = plan.contest
    check_run_name(contest, name)
    if (BUILT_IN / f"{name}.toml").is_file():
        raise InputError(f"There is a recipe {name!r} already: take another name.")

    of_teacher = pipeline.recipes.run(contest.split_run(teacher)[0])
    has_test = plan.card.has_test_rows
    keys: dict[str, Any] = {
        "distill_from": teacher,
        "distill_rows": ["test" if has_test else "labelled"],
    }
    if not isinstance(of_teacher, EnsembleRecipe):
        # Scores are no kind that is trained; what they rank by is.
        kind = "gain" if contest.kind(of_teacher.kind).role == "score" else of_teacher.kind
        keys |= {"kind": kind, "scheme": of_teacher.scheme}
    keys |= changes
    if "distill_from" in changes:
        raise InputError(
            "--set distill_from: the run that is distilled is the teacher, leave it out."
        )
    if changes.get("servable", True) is not True:
        raise InputError("--set servable: a student is made to be served, leave it out.")

    student = change_recipe(workspace, plan.settings, contest, BASE, name, keys, "comp distill")
    assert isinstance(student, EncoderRecipe)  # as BASE is
    # The steps of a recipe are refused where the two do not go together, or the teacher is missing.
    if unmet := unmet_sentence(in_order(Pipeline(workspace, {name: student}).recipe_steps(name))):
        raise CompError(unmet)
    return write_variant(workspace, name, BASE, keys)
