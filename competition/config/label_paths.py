"""The ways in which the label of a row reaches what a run predicts for it, by its recipe and those that it learns from.

An average of members with smaller folds than its own is held out by theirs.
"""

from collections.abc import Callable, Iterable, Sequence

from competition.config.encoder_recipe import EncoderRecipe
from competition.config.keys import RUN_SEPARATOR, UNLABELLED_FILE
from competition.config.recipe import EnsembleRecipe, ImportedRecipe, MemberRecipe, RunRecipe
from competition.scoring.task import Task

# Averages whose weights are learned, where there are several members.
_LEARNED = ("greedy", "search")


def label_paths(
    recipe: RunRecipe,
    load: Callable[[str], RunRecipe],
    members: Sequence[MemberRecipe] = (),
    task: Task | None = None,
) -> tuple[str, ...]:
    """Return the ways in which the label of a row reaches what a run predicts for it; none where it is held out.

    Args:
        recipe: of the run.
        load: from the name of a run that it learns from to that run's recipe.
        members: of an ensemble, for the task.
        task: that an ensemble answers.
    """
    if isinstance(recipe, EnsembleRecipe):
        paths = _ensemble_paths(recipe, load, members, task)
    else:
        paths = _member_paths(recipe, load)

    # Each is named once, in their order.
    return tuple(dict.fromkeys(paths))


def _member_paths(recipe: MemberRecipe, load: Callable[[str], RunRecipe]) -> list[str]:
    """Return the paths of a recipe that is trained on folds: the choice of its epoch, and other runs."""
    if isinstance(recipe, ImportedRecipe):
        return ["labels of its own rows, by the look of its outputs"] if recipe.in_sample else []

    paths = ["the choice of its best epoch"] if _chooses(recipe) else []

    sources = []
    if recipe.noise_from:
        audited = recipe.noise_from.split(RUN_SEPARATOR)
        sources.append((f"the audit of {recipe.noise_from}", audited))
    if recipe.teaches_labelled:
        sources.append((f"its teacher {recipe.distill_from}", [recipe.distill_from]))

    for path, runs in sources:
        if not recipe.nested:
            paths.append(path)
        else:
            # Their nested models left out the fold, but may have chosen their epochs by it.
            paths += _epochs(load(run) for run in runs)
    return paths + _taught_paths(recipe, load)


def _taught_paths(recipe: MemberRecipe, load: Callable[[str], RunRecipe]) -> list[str]:
    """Return the paths through rows without labels: those of a teacher whose model left out the scored fold."""
    rows = [each for each in recipe.distill_rows if each != "labelled"]
    if not recipe.distill_from or not rows:
        return []

    if recipe.distill_from == UNLABELLED_FILE:
        return ["the teacher of its unlabelled rows, which may have seen them"]

    teacher = load(recipe.distill_from)
    name = recipe.distill_from
    if isinstance(teacher, EnsembleRecipe | ImportedRecipe):
        # One output for all folds, or members that are: it has seen the labels of each.
        return [f"its teacher {name}, which saw them, on {' and '.join(rows)} rows"]
    return [f"{path} ({name})" for path in _member_paths(teacher, load)]


def _ensemble_paths(
    recipe: EnsembleRecipe,
    load: Callable[[str], RunRecipe],
    members: Sequence[MemberRecipe],
    task: Task | None,
) -> list[str]:
    """Return the paths of an ensemble: those of its members, and what it learns from these."""
    if recipe.nested:
        return _epochs(members)

    paths = [
        f"{path} ({member.name})" for member in members for path in _member_paths(member, load)
    ]

    learns_weights = recipe.method in _LEARNED and len(members) > 1
    if recipe.stacks:
        paths.append("a stacker over members that saw it")
    elif learns_weights:
        paths.append("weights learned over members that saw it")

    tells_all = task is not None and task.kind == "classify" and task.positive is None
    normalises = recipe.can and tells_all
    learns_thresholds = recipe.thresholds != "none" and (task is None or not task.ranks)
    cuts_levels = task is not None and task.metric.reads == "level"
    if normalises or learns_thresholds or cuts_levels:
        paths.append("decisions learned over members that saw it")
    return paths


def _epochs(recipes: Iterable[RunRecipe]) -> list[str]:
    """Name the nested models that chose their epoch by the folds that they left out."""
    return [
        f"the choice of the best epoch of {recipe.name}" for recipe in recipes if _chooses(recipe)
    ]


def _chooses(recipe: RunRecipe) -> bool:
    """Return whether held-out labels choose the epoch that is kept: of several."""
    return isinstance(recipe, EncoderRecipe) and recipe.weights == "best" and recipe.epochs > 1
