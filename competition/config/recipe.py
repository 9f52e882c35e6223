"""The other recipes, and the table of all types: what each key means, its default, and which keys go together."""

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from competition.config.base_recipe import (
    LATER_KEYS,
    ON_THE_DEVICE,
    SCHEMES,
    BaseRecipe,
    FoldRecipe,
    SupervisedRecipe,
    TrainingKeys,
)
from competition.config.encoder_recipe import EncoderRecipe
from competition.config.keys import FORMER_KEYS, FORMER_TREE_KEYS, Spans
from competition.scoring.contest import Locale
from competition.scoring.task import Task

# What LightGBM can hold.
_MOST_LEAVES = 131_072
_MOST = 2**31 - 1


class LexicalRecipe(FoldRecipe):
    """LightGBM on text features alone: the lexical baseline."""

    former_keys: ClassVar[dict[str, str]] = FORMER_KEYS | FORMER_TREE_KEYS
    own_keys: ClassVar[frozenset[str]] = frozenset({"learning_rate"})

    model: Literal["lexical"] = "lexical"
    n_estimators: int = Field(100, ge=1, le=_MOST)
    learning_rate: float = Field(0.05, gt=0, le=1)
    num_leaves: int = Field(15, ge=2, le=_MOST_LEAVES)
    min_data_in_leaf: int = Field(30, ge=1, le=_MOST)


class ImportedRecipe(FoldRecipe):
    """Outputs that another tool made, brought by `comp member add`; nothing is trained.

    With `in_sample`, they look like outputs of rows that their model was fitted on, see
    `scoring/in_sample.py`, so that their scores are approximate.
    """

    # Nothing that changes how recipes learn changes them.
    own_keys: ClassVar[frozenset[str]] = frozenset(FoldRecipe.model_fields) | {"in_sample"}

    model: Literal["imported"] = "imported"
    in_sample: bool = False

    @model_validator(mode="after")
    def _learns_nothing(self) -> "ImportedRecipe":
        kept = {"name", "description", "seed", "kind", "scheme", "model", "in_sample"}
        for key, field in FoldRecipe.model_fields.items():
            if key not in kept and getattr(self, key) != field.default:
                raise ValueError(f"{key} is of recipes that are trained, these outputs are made")
        return self

    def result_keys(self) -> dict[str, Any]:
        """Return what says how the file is read; its content has a fingerprint of its own."""
        return {"model": self.model, "kind": self.kind, "scheme": self.scheme}


Method = Literal["paper", "greedy", "search", "logistic", "lightgbm", "lambdarank", "mixed"]


class EnsembleRecipe(SupervisedRecipe):
    """An ensemble: complete runs combined, one run per task (`NAME-task1` and so on), cross-fitted.

    `method` is how: `paper` takes the members as they are (task 1: mean expected gain of the
    classifiers plus mean gain of the regressors; tasks 2 and 3: mean probabilities); `greedy` and
    `search` learn the weights of an average, see `models/ensemble/weighted_average.py`; `logistic`
    is a regression on the outputs of members that help and on text, see
    `models/ensemble/logistic.py`; `lightgbm` (all tasks) and `lambdarank` (task 1) learn trees on
    the members' outputs, see `models/ensemble/gbdt.py`; `mixed` is the mean of the regression and
    of trees on text alone. The keys behind it belong to weights, then to trees, then to what is
    done with probabilities.
    """

    former_keys: ClassVar[dict[str, str]] = FORMER_KEYS | FORMER_TREE_KEYS
    own_keys: ClassVar[frozenset[str]] = frozenset({"learning_rate"})

    model: Literal["ensemble"] = "ensemble"
    members: tuple[str, ...] = ()  # empty: every recipe of competition.toml
    method: Method = "mixed"
    nested: bool = False  # fit on members that never saw the fold that is scored

    objective: Literal["metric", "likelihood"] = "metric"  # of tasks 2 and 3
    # Of task 1: average scores, or ranks within the query.
    space: Literal["score", "rank"] = "score"
    per_locale: bool = False  # weights of their own for each locale that has enough queries
    selections: int = Field(40, ge=1)  # of a greedy average
    # Greedy averages over random halves of the queries, themselves averaged.
    bags: int = Field(10, ge=1)

    text: bool = True  # read the features of text, too
    leaky: bool = False  # read in which other tasks' lists a row is
    n_estimators: int = Field(300, ge=1, le=_MOST)  # per class, at most
    learning_rate: float = Field(0.05, gt=0, le=1)
    num_leaves: int = Field(15, ge=2, le=_MOST_LEAVES)
    min_data_in_leaf: int = Field(30, ge=1, le=_MOST)

    can: bool = False  # alternating normalisation, task 2
    # Decide so that this is highest, tasks 2 and 3.
    thresholds: Literal["none", "micro-F1", "macro-F1"] = "none"

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

    @property
    def stacks(self) -> bool:
        """True where a model reads the outputs of members, for any task, as features beside those of text."""
        return self.method in ("logistic", "lightgbm", "lambdarank", "mixed")

    def serves(self, task: Task) -> bool:
        """Return whether the method answers a task."""
        return self.method != "lambdarank" or task.ranks

    def run_name(self, task: str) -> str:
        """Return the name of the run that answers a task."""
        return f"{self.name}-{task}"


_CATEGORY = 0.5  # the weight of a category's loss


class PretrainingRecipe(BaseRecipe, TrainingKeys):
    """An encoder that goes on learning from the catalogue's text, without labels and queries (Algorithm 1).

    `mlm`, `query`, `brand`, `color` and `contrastive` are the weights of the tasks' losses; 0
    switches a task off. Categories with other names than these two have the weight 0.5. An epoch is
    one pass over the catalogue in blocks of `max_length` tokens,
    in which MLM reads the products of test rows `test_copies` times; with 0 they are left out of
    all tasks, and new test rows leave the encoder alone.
    """

    device_keys: ClassVar[frozenset[str]] = ON_THE_DEVICE
    later_keys: ClassVar[frozenset[str]] = LATER_KEYS

    model: Literal["pretraining"] = "pretraining"
    epochs: int = Field(10, ge=1)
    learning_rate: float = Field(2e-5, gt=0)
    warmup: float = Field(0.03, ge=0, lt=1)
    ema: float = Field(0.999, ge=0, lt=1)
    mlm: float = Field(1.0, gt=0)  # always on: its held-out loss chooses the weights that are kept
    query: float = Field(2.0, ge=0)
    brand: float = Field(_CATEGORY, ge=0)  # half each: published is the mean of the two losses
    color: float = Field(_CATEGORY, ge=0)
    contrastive: float = Field(1.0, ge=0)
    masked: float = Field(0.15, gt=0, lt=1)  # share of tokens
    temperature: float = Field(0.03, gt=0)
    queue: float = Field(2.5, ge=0)  # keys, in batches
    momentum: float = Field(0.999, ge=0, lt=1)
    spans: dict[str, Spans] = Field(default_factory=dict)  # by locale
    test_copies: int = Field(2, ge=0)

    def spans_of(self, locale: Locale) -> Spans:
        """Return the lengths of fake queries of a locale."""
        return self.spans.get(locale.name) or Spans.default(locale.dense)

    def learned_categories(self, categories: Iterable[str]) -> dict[str, float]:
        """Return the categories whose names are learned, with the weight of each loss."""
        own = {"brand": self.brand, "color": self.color}
        weights = {name: own.get(name, _CATEGORY) for name in categories}
        return {name: weight for name, weight in weights.items() if weight}


# Trained on folds, or brought with them.
MemberRecipe = EncoderRecipe | LexicalRecipe | ImportedRecipe

RunRecipe = MemberRecipe | EnsembleRecipe  # leaves out-of-fold predictions

AnyRecipe = RunRecipe | PretrainingRecipe

RECIPE_TYPES: dict[
    str,
    type[EncoderRecipe]
    | type[LexicalRecipe]
    | type[ImportedRecipe]
    | type[EnsembleRecipe]
    | type[PretrainingRecipe],
] = {
    "encoder": EncoderRecipe,
    "lexical": LexicalRecipe,
    "imported": ImportedRecipe,
    "ensemble": EnsembleRecipe,
    "pretraining": PretrainingRecipe,
}
