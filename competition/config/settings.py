"""The workspace's `competition.toml`, read into a frozen, typed model, and the names of its recipes.

Recipes in `recipes/` of the workspace go before those that are built in.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from competition.config.keys import RUN_SEPARATOR, AuditKeys, AuditMethod, Tracker
from competition.config.recipe import RECIPE_TYPES, AnyRecipe, PretrainingRecipe
from competition.core.errors import InputError, did_you_mean
from competition.core.toml_files import StrictModel, build_model, read_toml
from competition.core.workspace import Workspace
from competition.scoring.contest import Contest
from competition.scoring.definition import ESCI, load_contest

BUILT_IN = Path(__file__).parent / "recipes"


class Settings(StrictModel):
    """`competition.toml`: what this workspace trains, audits, blends and submits."""

    competition: str = ESCI  # a definition: one that comes with the package, or a file
    preset: str = "tiny"
    seed: int = 2022
    recipes: tuple[str, ...] = ("lexical", "c1", "r2", "t3")
    default_recipe: str = "c1"
    # Or several joined by `+`; empty: no audit but those that recipes ask for.
    noise_run: str = "c1"
    noise_fraction: float = Field(0.04, gt=0, lt=0.5)
    noise_method: AuditMethod = "prune_by_noise_rate"
    noise_per_label: bool = False
    noise_per_locale: bool = False
    noise_calibrated: bool = False
    noise_despite_doubts: bool = False
    ensembles: tuple[str, ...] = ("blend",)
    submission: dict[str, str] = Field(default_factory=dict)  # empty: `blend` for every task
    tracker: Tracker | None = None  # changes no result
    overrides: dict[str, Any] = Field(default_factory=dict)  # of the recipes that leave runs
    pretraining: dict[str, Any] = Field(default_factory=dict)  # overrides of those that pre-train

    @property
    def audit(self) -> AuditKeys:
        """The keys of the audit of labels."""
        return AuditKeys(**{key: getattr(self, f"noise_{key}") for key in AuditKeys.model_fields})


# --- reading


def load_settings(workspace: Workspace) -> Settings:
    """Read `competition.toml` of a workspace; raises InputError naming the key that is wrong."""
    settings, _ = read_settings(workspace)
    return settings


def read_settings(workspace: Workspace) -> tuple[Settings, Contest]:
    """Return the settings of a workspace, and the contest as the definition that they name states it.

    Raises:
        InputError: a key of competition.toml or of the definition is wrong.
    """
    source = workspace.settings_file
    settings = build_model(Settings, read_toml(source), source)
    contest = load_contest(settings.competition, workspace.paths_from)
    if not settings.submission:
        answers = dict.fromkeys(contest.tasks, "blend")
        settings = settings.model_copy(update={"submission": answers})

    trained = [model for model in RECIPE_TYPES.values() if model is not PretrainingRecipe]
    _check_overrides("overrides", settings.overrides, trained, source)
    _check_overrides("pretraining", settings.pretraining, [PretrainingRecipe], source)

    # Each key with a recipe that it names.
    recipes = recipe_names(workspace)
    named = [("recipes", name) for name in settings.recipes]
    named += [("ensembles", name) for name in settings.ensembles]
    named += [("noise_run", name) for name in settings.noise_run.split(RUN_SEPARATOR)]
    named += [("default_recipe", settings.default_recipe)]
    named += [("[submission]", name) for name in settings.submission.values()]

    for key, name in named:
        if name and not _is_known(name, recipes, contest):
            raise InputError(
                f"{source}: {key} names the unknown recipe {name!r}{did_you_mean(name, recipes)}."
            )

    for task in settings.submission:
        if task not in contest.tasks:
            raise InputError(
                f"{source}: unknown task {task!r} in [submission]{did_you_mean(task, contest.tasks)}."
            )
    return settings, contest


def _check_overrides(
    table: str, overrides: dict[str, Any], models: Sequence[type[AnyRecipe]], source: Path
) -> None:
    """Refuse a key that none of the recipes has which the table is for."""
    of_one_recipe = {"name", "model", "description"}
    known = set().union(*(model.model_fields for model in models)) - of_one_recipe
    former = {
        model.former_keys[key] for model in models for key in model.former_keys if key in known
    }

    for key in overrides:
        if key not in known | former:
            raise InputError(
                f"{source}: unknown key {key!r} in [{table}]{did_you_mean(key, known)}."
            )


def override_audit_keys(settings: Settings, options: dict[str, Any]) -> AuditKeys:
    """Return the audit keys of competition.toml, put over by `options` that are not None."""
    given = {key: value for key, value in options.items() if value is not None}
    return build_model(AuditKeys, settings.audit.model_dump() | given, "comp cleanlab")


def _is_known(name: str, recipes: Collection[str], contest: Contest) -> bool:
    """Return whether there is a recipe of that name, or one that it is a run or a variant of."""
    # `blend-task1` is the run of the ensemble `blend` that answers task 1.
    if name not in recipes:
        name, _ = contest.split_run(name)

    # `blend.greedy.without-c1` is a variant of a variant of `blend`.
    while name not in recipes and "." in name:
        name, _, _ = name.rpartition(".")
    return name in recipes


def recipe_names(workspace: Workspace) -> list[str]:
    """Return every recipe that can be named here: the workspace's own and the built-in ones."""
    folders = (workspace.recipe_folder, BUILT_IN)
    return sorted(
        {path.stem for folder in folders if folder.is_dir() for path in folder.glob("*.toml")}
    )
