"""What recipes share, as frozen, typed models: keys of all, of those that are trained on folds, and of the loop."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from competition.config.keys import FORMER_FEATURES, FORMER_KEYS, UNLABELLED_FILE
from competition.core.fingerprint import derive_seed
from competition.core.toml_files import StrictModel

SCHEMES = {"five": 5, "ten": 10}  # folds per scheme
NUMBERS = ("gain", "rating")  # kinds of prediction that are one number

# Rows that a teacher says something about, see `FoldRecipe`.
TaughtRows = Literal["labelled", "test", "unlabelled"]


class BaseRecipe(StrictModel):
    """The keys of every recipe.

    Keys in `device_keys` fit the work to a device and leave the mathematics as it is (dropout draws
    other numbers, mixup other partners), so changing them makes nothing out of date.
    """

    device_keys: ClassVar[frozenset[str]] = frozenset()
    # Keys that are left out of fingerprints while they have their default: results from before they
    # existed stay up to date.
    later_keys: ClassVar[frozenset[str]] = frozenset()
    former_keys: ClassVar[dict[str, str]] = FORMER_KEYS
    # [overrides] leaves these alone, since they are other keys of other recipes.
    own_keys: ClassVar[frozenset[str]] = frozenset()

    name: str
    description: str = ""
    seed: int = 2022

    def result_keys(self) -> dict[str, Any]:
        """Return all that can change a result, by its name in fingerprints; nothing is drawn from `name`."""
        excluded = {*self.device_keys, *self.unused_keys(), "description", "name"}
        keys = self.model_dump(mode="json", exclude=excluded)

        # Fingerprints go on with the names of earlier releases, so that nothing is trained again.
        if "features" in keys:
            keys["features"] = [FORMER_FEATURES.get(name, name) for name in keys["features"]]

        return {self.former_keys.get(key, key): value for key, value in keys.items()}

    def unused_keys(self) -> set[str]:
        """Return the keys that are switched off, so that a recipe is what it was before they were known."""
        fields = type(self).model_fields
        return {key for key in self.later_keys if getattr(self, key) == fields[key].default}


class SupervisedRecipe(BaseRecipe):
    """The keys of every recipe that learns from labels.

    With `train_queries`, it learns from so many training queries, see `folds.first_queries`; 0 is
    all. Text is read whole, and every row is predicted: a recipe and its smaller self are scored on
    the same rows.
    """

    later_keys: ClassVar[frozenset[str]] = frozenset({"train_queries"})

    train_queries: int = Field(0, ge=0)


class FoldRecipe(SupervisedRecipe):
    """The keys of every recipe that is trained on folds.

    Up to one of `drop_noise_from`, `weight_noise_from` and `relabel_noise_from` names the run whose
    audit training follows, or several joined by `+`; `distill_from` the run whose out-of-fold outputs
    are mixed into the targets with the share `distill_weight`. They change the targets and weights of
    training rows, never a row that is held out.

    With `distill_rows`, the teacher speaks of other rows, too, which are then trained on with its
    outputs alone: `test` rows, or the `unlabelled` ones of `comp data import-unlabelled`. Those of
    fold k come from the teacher's model that left out fold k. With `distill_confidence` above 0,
    they are those whose most probable class has at least that probability, and are of that class
    (pseudo-labels); else the outputs are taken as they are.

     What is taken from complete runs saw the
    labels of the fold that is evaluated; with `nested` it comes from models that did not.
    """

    kind: str = "classes"  # of prediction, see `Contest.kinds`
    scheme: Literal["five", "ten"] = "five"
    rows: str = "all"  # or those of a task
    drop_noise_from: str = ""
    weight_noise_from: str = ""
    relabel_noise_from: str = ""
    distill_from: str = ""
    distill_weight: float = Field(0.5, gt=0, le=1)
    distill_rows: tuple[TaughtRows, ...] = ("labelled",)
    distill_confidence: float = Field(0.0, ge=0, lt=1)
    nested: bool = False

    @model_validator(mode="after")
    def _file_speaks_of_its_rows(self) -> "FoldRecipe":
        if self.distill_from == UNLABELLED_FILE and self.distill_rows != ("unlabelled",):
            raise ValueError(
                f'distill_from = "{UNLABELLED_FILE}" goes with distill_rows = ["unlabelled"]'
            )
        return self

    @field_validator("distill_rows")
    @classmethod
    def _some_rows(cls, rows: tuple[str, ...]) -> tuple[str, ...]:
        if not rows or len(set(rows)) < len(rows):
            raise ValueError("name one or more of labelled, test and unlabelled, each once")
        return rows

    @model_validator(mode="after")
    def _one_action(self) -> "FoldRecipe":
        actions = (self.drop_noise_from, self.weight_noise_from, self.relabel_noise_from)
        if sum(map(bool, actions)) > 1:
            raise ValueError(
                "of drop_noise_from, weight_noise_from and relabel_noise_from there can be one"
            )
        return self

    @property
    def noise_from(self) -> str:
        """The run whose audit training follows; empty for none."""
        return self.drop_noise_from or self.weight_noise_from or self.relabel_noise_from

    def unused_keys(self) -> set[str]:
        """Return the keys that are switched off: also those of audits and teachers that the recipe does not have."""
        sources = ("weight_noise_from", "relabel_noise_from", "distill_from")
        unused = super().unused_keys() | {key for key in sources if not getattr(self, key)}

        if not self.distill_from:
            unused |= {"distill_weight", "distill_rows", "distill_confidence"}
        if self.distill_rows == ("labelled",):
            unused |= {"distill_rows", "distill_confidence"}
        if not self.distill_confidence:
            unused.add("distill_confidence")
        if not self.nested or not (self.noise_from or self.distill_from):
            unused.add("nested")
        return unused

    @property
    def reads_unlabelled(self) -> bool:
        """True where a teacher speaks of the unlabelled rows."""
        return bool(self.distill_from) and "unlabelled" in self.distill_rows

    @property
    def teaches_labelled(self) -> bool:
        """True where a teacher's outputs are mixed into labels."""
        return bool(self.distill_from) and "labelled" in self.distill_rows

    @property
    def folds(self) -> range:
        """The numbers of its folds."""
        return range(SCHEMES[self.scheme])

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds whose models are averaged."""
        return (self.seed,)

    @property
    def for_all_rows(self) -> Self:
        """The recipe of a model that holds out no row."""
        return self

    @staticmethod
    def fold_seed(seed: int, fold: int | str) -> int:
        """Return the seed of all that is drawn in a fold; recipes share it, so that two differ by their keys alone."""
        return derive_seed(seed, "fold", fold)


# Where and how training runs: keys of `TrainingKeys` that leave the mathematics as it is.
ON_THE_DEVICE = frozenset(
    {
        "encoder",
        "token_budget",
        "precision",
        "deterministic",
        "checkpoint_minutes",
        "checkpoint_steps",
    }
)
# Keys of `TrainingKeys` that came after its first release, see `BaseRecipe.later_keys`.
LATER_KEYS = frozenset({"head_learning_rate", "layer_decay", "warmup_steps", "schedule"})


class TrainingKeys(StrictModel):
    """The keys that the training loop reads, whatever it trains.

    `token_budget` counts padding too and only splits a batch. `warmup` is a share of all steps,
    `warmup_steps` how many it takes at least, up to half of all; `schedule` is how the rate then
    falls to 0. `clip_norm` is the largest norm of
    a gradient, `ema` the decay of the averaged weights, 0 for none. What is not the encoder's
    learns by `head_learning_rate`, 0 for the encoder's own; each layer of the encoder by
    `layer_decay` times the rate of the one above it, see `training/optimizer.py`.

    `precision` is that of matrix products: `auto` is bf16 on a GPU that has it and fp32 elsewhere,
    `fast` is bf16 on a CPU that has it, too; weights, norms and losses are fp32 in either.
    `deterministic` makes GPUs repeat their bytes. A checkpoint is written once `checkpoint_minutes`
    have passed since the last, and every `checkpoint_steps` optimiser steps, 0 for none.
    """

    encoder: str = "tiny"
    max_length: int = Field(256, ge=16, le=8192)
    epochs: int = Field(5, ge=1)
    batch_size: int = Field(32, ge=1)
    learning_rate: float = Field(1e-5, gt=0)
    head_learning_rate: float = Field(0.0, ge=0)
    layer_decay: float = Field(1.0, gt=0, le=1)
    warmup: float = Field(0.1, ge=0, lt=1)
    warmup_steps: int = Field(0, ge=0)
    schedule: Literal["linear", "cosine"] = "linear"
    weight_decay: float = Field(0.01, ge=0)
    clip_norm: float = Field(1.0, gt=0)
    ema: float = Field(0.0, ge=0, lt=1)
    token_budget: int = Field(16_384, ge=1)
    precision: Literal["auto", "fast", "fp32", "bf16"] = "auto"
    deterministic: bool = False
    checkpoint_minutes: float = Field(10.0, gt=0)
    checkpoint_steps: int = Field(0, ge=0)

    @property
    def fused(self) -> bool:
        """True where AdamW is one kernel on CPUs, too: faster, and rounded differently."""
        return False

    @property
    def is_sharded(self) -> bool:
        """True where each of several processes holds a part of the weights alone."""
        return False

    @property
    def attacks_weights(self) -> bool:
        """True where a pass runs with other weights than the model's."""
        return False
