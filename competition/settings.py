"""Recipes, presets and the workspace's `competition.toml`: TOML files read into frozen, typed models.

A recipe is a method (what is predicted, from which text, on which folds); a preset is a size (encoder, lengths, steps).
What a recipe finally is comes from, the later winning: defaults, `seed` of competition.toml, the preset, the recipe's
file, `[overrides]` of competition.toml. Recipes in `recipes/` of the workspace go before those that are built in.
"""

import tomllib
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from competition.errors import InputError
from competition.tasks import ANSWER_KIND, KINDS
from competition.workspace import Workspace, derive_seed

BUILT_IN = Path(__file__).parent / "recipes"
SCHEMES = {"five": 5, "ten": 10}  # folds per scheme


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Recipe(_Model):
    """What every recipe says.

    Keys in `device_keys` fit the work to a device and leave the mathematics as it is (dropout draws other numbers,
    mixup other partners), so changing them makes nothing out of date.
    """

    device_keys: ClassVar[frozenset[str]] = frozenset()

    name: str
    about: str = ""
    kind: Literal["classes", "gain", "substitute"] = "classes"
    scheme: Literal["five", "ten"] = "five"
    rows: Literal["all", "task1"] = "all"
    drop_noise_from: str = ""
    seed: int = 2022

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that the outputs answer."""
        return KINDS[self.kind].tasks

    @property
    def folds(self) -> range:
        return range(SCHEMES[self.scheme])

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds whose models are averaged."""
        return (self.seed,)

    @staticmethod
    def fold_seed(seed: int, fold: int) -> int:
        """Of all that is drawn in a fold. Recipes share it, so that two of them differ by their keys alone."""
        return derive_seed(seed, "fold", fold)

    def result_keys(self) -> dict[str, Any]:
        """All that can change a result: not the name, which nothing is drawn from."""
        return self.model_dump(mode="json", exclude=set(self.device_keys) | {"about", "name"})


class EncoderRecipe(Recipe):
    """A model that reads query and product as text, and how it is fine-tuned.

    Size: `token_budget` counts padding too. `weights = "best"` keeps the epoch with the best held-out score, which
    flatters that score a little. `warmup` is a share of all steps, `clip_norm` the largest norm of a gradient.

    Method: `ema` is the decay of the averaged weights, `r_drop` the weight alpha of the divergence, `mixup` the
    parameter of its Beta distribution, `label_smoothing` a share; 0 switches each of them off. `epsilon` is the size of
    the attack, see `training/adversary.py`. `seeds` trains a fold once per seed and averages the outputs.
    """

    # The encoder counts by its content, see `Planner.encoder_inputs`: another path to the same files changes nothing.
    device_keys: ClassVar[frozenset[str]] = frozenset({"token_budget", "encoder"})

    model: Literal["encoder"] = "encoder"
    architecture: Literal["cross-encoder", "mixture-of-experts", "two-tower"] = "cross-encoder"
    field_order: Literal["ptbcbd", "ptbdbc", "ptdbbc"] = "ptbcbd"
    features: tuple[Literal["brand", "color", "country", "char3"], ...] = ()
    char3_init: Literal["random", "word2vec", "frozen"] = "random"
    encoder: str = "tiny"
    max_length: int = Field(256, ge=16, le=8192)
    epochs: int = Field(5, ge=1)
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(1e-5, gt=0)
    warmup: float = Field(0.1, ge=0, lt=1)
    weight_decay: float = Field(0.01, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    dropout: float = Field(0.1, ge=0, lt=1)
    multi_sample_dropout: int = Field(1, ge=1)
    loss: Literal["ce", "poly1", "focal", "ghm", "mse"]
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    ema: float = Field(0.0, ge=0, lt=1)
    adversary: Literal["none", "fgm-table", "fgm-row", "awp"] = "none"
    epsilon: float = Field(gt=0)
    r_drop: float = Field(0.0, ge=0)
    mixup: float = Field(0.0, ge=0)
    seeds: tuple[int, ...] = ()  # empty: `seed` alone
    weights: Literal["last", "best"] = "last"
    token_budget: int = Field(16_384, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _defaults_that_depend(cls, content: dict[str, Any]) -> dict[str, Any]:
        loss = "mse" if content.get("kind") == "gain" else "ce"
        # AWP's is a share of each matrix's norm (Wu et al. 2020), FGM's a length.
        epsilon = 0.005 if content.get("adversary") == "awp" else 1.0
        return {"loss": loss, "epsilon": epsilon, **content}

    @field_validator("features", "seeds")
    @classmethod
    def _distinct(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) < len(values):
            raise ValueError("a value is there twice")
        return values

    @model_validator(mode="after")
    def _fits_together(self) -> "EncoderRecipe":
        if (self.loss == "mse") != (self.kind == "gain"):
            raise ValueError(f"loss = {self.loss!r} does not go with kind = {self.kind!r}: gains take mse, classes not")
        if self.label_smoothing and self.kind == "gain":
            raise ValueError("label_smoothing is for classes, the kind is gain")
        return self

    @property
    def all_seeds(self) -> tuple[int, ...]:
        return self.seeds or (self.seed,)


class LexicalRecipe(Recipe):
    """LightGBM on text features alone: the floor."""

    model: Literal["lexical"] = "lexical"
    kind: Literal["classes"] = "classes"
    trees: int = Field(100, ge=1)
    shrinkage: float = Field(0.05, gt=0)
    leaves: int = Field(15, ge=2)
    min_rows_per_leaf: int = Field(30, ge=1)


class AverageRecipe(_Model):
    """An ensemble: a weighted average of runs, one run per task (`NAME-task1` and so on), cross-fitted."""

    model: Literal["average"] = "average"
    name: str
    about: str = ""
    members: tuple[str, ...] = ()  # empty: every recipe of competition.toml
    weighting: Literal["greedy", "equal"] = "greedy"
    selections: int = Field(40, ge=1)  # of greedy weights

    @field_validator("members")
    @classmethod
    def _distinct(cls, members: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(members)) < len(members):
            raise ValueError("a member is named twice")
        return members

    @property
    def folds(self) -> range:
        """Ensembles cross-fit on the scheme `five`, whatever their members were trained on."""
        return range(SCHEMES["five"])

    def run_name(self, task: str) -> str:
        return f"{self.name}-{task}"

    def result_keys(self) -> dict[str, Any]:
        """All that can change a result."""
        return self.model_dump(mode="json", exclude={"about"})


MemberRecipe = EncoderRecipe | LexicalRecipe  # trained on folds
AnyRecipe = MemberRecipe | AverageRecipe
_MODELS: dict[str, type[EncoderRecipe] | type[LexicalRecipe] | type[AverageRecipe]] = {
    "encoder": EncoderRecipe,
    "lexical": LexicalRecipe,
    "average": AverageRecipe,
}


class Settings(_Model):
    """`competition.toml`: what this workspace trains, audits, blends and submits."""

    preset: str = "tiny"
    seed: int = 2022
    recipes: tuple[str, ...] = ("lexical", "c1", "r2", "t3")
    default_recipe: str = "c1"
    noise_run: str = "c1"  # empty: no audit but those that recipes ask for
    noise_fraction: float = Field(0.04, gt=0, lt=0.5)
    ensembles: tuple[str, ...] = ("blend",)
    submission: dict[str, str] = Field(default_factory=lambda: dict.fromkeys(ANSWER_KIND, "blend"))
    overrides: dict[str, Any] = Field(default_factory=dict)


# --- reading -----------------------------------------------------------------------------------------------------


def nearest(word: str, known: Iterable[str]) -> str:
    """` (did you mean 'x'?)` where one of the known names is near, else an empty string."""
    close = get_close_matches(word, sorted(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as a dictionary; raises InputError where it is malformed."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid TOML: {error}.") from None


def _build(model: type[_Model], content: dict[str, Any], source: Path | str) -> Any:
    try:
        return model(**content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            hint = nearest(key, model.model_fields)
            raise InputError(f"{source}: unknown key {key!r}{hint}.") from None
        fault = f"{key} = {first['input']!r} does not fit" if key else "two keys do not fit"
        reason = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{source}: {fault}: {reason}.") from None


def load_settings(workspace: Workspace) -> Settings:
    """`competition.toml` of a workspace; raises InputError naming the key that is wrong."""
    source = workspace.settings_file
    settings: Settings = _build(Settings, read_toml(source), source)
    known = set().union(*(model.model_fields for model in _MODELS.values())) - {"name", "model", "about"}
    for key in settings.overrides:
        if key not in known:
            raise InputError(f"{source}: unknown key {key!r} in [overrides]{nearest(key, known)}.")
    recipes = recipe_names(workspace)
    named = [("recipes", name) for name in settings.recipes] + [("ensembles", name) for name in settings.ensembles]
    named += [("default_recipe", settings.default_recipe), ("noise_run", settings.noise_run)]
    named += [("[submission]", name) for name in settings.submission.values()]
    for key, name in named:
        stem, _, suffix = name.rpartition("-")
        if name and name not in recipes and not (suffix in ANSWER_KIND and stem in recipes):
            raise InputError(f"{source}: {key} names the unknown recipe {name!r}{nearest(name, recipes)}.")
    for task in settings.submission:
        if task not in ANSWER_KIND:
            raise InputError(f"{source}: unknown task {task!r} in [submission]{nearest(task, ANSWER_KIND)}.")
    return settings


def recipe_names(workspace: Workspace) -> list[str]:
    """Every recipe that can be named here: the workspace's own and the built-in ones."""
    folders = (workspace.own_recipes, BUILT_IN)
    return sorted({path.stem for folder in folders if folder.is_dir() for path in folder.glob("*.toml")})


def _find(workspace: Workspace, name: str) -> Path:
    for folder in (workspace.own_recipes, BUILT_IN):
        path = folder / f"{name}.toml"
        if path.is_file() and path.parent == folder:
            return path
    known = recipe_names(workspace)
    raise InputError(f"There is no recipe {name!r}{nearest(name, known)}: known are {', '.join(known)}.")


def _preset(name: str, source: Path) -> dict[str, Any]:
    path = BUILT_IN / "presets" / f"{name}.toml"
    known = [p.stem for p in path.parent.glob("*.toml")]
    if name not in known:
        raise InputError(f"{source}: there is no preset {name!r}{nearest(name, known)}: known are {', '.join(known)}.")
    return read_toml(path)


def load_recipe(workspace: Workspace, settings: Settings, name: str) -> AnyRecipe:
    """The recipe called `name` with everything resolved; raises InputError for an unknown name, key or value."""
    path = _find(workspace, name)
    own = read_toml(path)
    if "name" in own:
        raise InputError(f"{path}: the key 'name' is not allowed, the file's name is it.")
    if name.endswith(tuple(f"-{task}" for task in ANSWER_KIND)):
        raise InputError(f"{path}: a recipe's name must not end like an ensemble's run ({name!r}): rename the file.")
    model = _MODELS.get(str(own.get("model", "encoder")))
    if model is None:
        raise InputError(f"{path}: model = {own['model']!r} is none of {', '.join(_MODELS)}.")
    content: dict[str, Any] = {"name": name}
    if "seed" in model.model_fields:
        content["seed"] = settings.seed
    if model is EncoderRecipe:
        content |= _preset(settings.preset, workspace.settings_file)
    content |= own
    overridden = {key: value for key, value in settings.overrides.items() if key in model.model_fields}
    source: Path | str = path
    if overridden:
        _build(model, content, path)  # a fault of the recipe's own file is blamed on it, not on the overrides
        source = f"{workspace.settings_file}, [overrides] on the recipe {name!r}"
    recipe: AnyRecipe = _build(model, content | overridden, source)
    return recipe
