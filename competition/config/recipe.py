"""Recipes as frozen, typed models: what each key means, its default, and which keys go together."""

from collections.abc import Iterable
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from competition.config.keys import (
    FORMER_FEATURES,
    FORMER_KEYS,
    FORMER_TREE_KEYS,
    UNLABELLED_FILE,
    Lora,
    Spans,
)
from competition.core.fingerprint import derive_seed
from competition.core.toml_files import StrictModel
from competition.scoring.contest import Locale, Task

SCHEMES = {"five": 5, "ten": 10}  # folds per scheme
NUMBERS = ("gain", "rating")  # kinds of prediction that are one number
ORDERED_LOSSES = ("corn", "cumulative")  # of classes that have an order
Head = Literal["new", "pretrained", "yes-no"]
NEW_HEAD: Head = "new"
PRETRAINED_HEAD: Head = "pretrained"
YES_NO_HEAD: Head = "yes-no"
RankingLoss = Literal[
    "none", "ranknet", "lambdarank", "ndcg-loss1", "ndcg-loss2", "ndcg-loss2pp", "listnet", "listmle",
    "approx-ndcg", "margin-mse",
]  # fmt: skip


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


# Rows that a teacher says something about, see `FoldRecipe`.
TaughtRows = Literal["labelled", "test", "unlabelled"]


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
_ON_THE_DEVICE = frozenset(
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
_LATER = frozenset({"head_learning_rate", "layer_decay", "warmup_steps", "schedule"})


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


class EncoderRecipe(FoldRecipe, TrainingKeys):
    """A model that reads query and product as text, and how it is fine-tuned.

    `pooling` is how a text becomes one vector: by its first token, its last, by the mean of all, or
    the first and the mean side by side; `auto` is what the encoder was made with, see `models/encoder/pooling.py`. With
    `prior_bias`, the untrained model says of every pair what training rows say on average, so that
    the encoder need not learn it.

    With `servable`, the trained model is one that transformers has a class for: text is put
    together as its tokenizer does, see `data/layout.py`, the head is the family's own, see
    `models/encoder/classifiers.py`, and `features` and `query_context` are off, whatever they say.

    `weights = "best"` keeps the epoch with the best held-out score, which flatters that score a
    little. With a `ranking_loss`, a batch holds the whole lists of some queries, and the share
    `ranking_weight` of its loss compares their rows, see `models/encoder/ranking_losses.py`.

    `r_drop` is the weight alpha of the divergence, `mixup` the parameter of its Beta
    distribution, `label_smoothing` a share; 0 switches each of them off. `epsilon` is the size of
    the attack, see `training/adversary.py`. `seeds` trains a fold once per seed and averages the
    outputs. `translate_with` and `rebalance` add training rows of the weight `augmented_weight`,
    see `data/augment.py`; `query_context` appends to a query what its candidates share.

    Four keys change how training computes, not what: `lean` leaves out padding and all that the
    head does not read of the last layer, and draws dropout faster (other numbers; see
    `models/encoder/unpadded.py`; prediction always does so); `compile` compiles the layers of that
    way, and `checkpointing` keeps less for the gradient and computes it again. With `sharded`, each
    of several processes holds a part of the weights, see `training/sharding.py`; one holds them
    all.
    """

    # Models count by their content, see `Artifacts.encoder_fingerprint`: another path to the same files
    # changes nothing.
    device_keys: ClassVar[frozenset[str]] = _ON_THE_DEVICE | {
        "lean", "compile", "checkpointing", "sharded", "translate_with",
    }  # fmt: skip
    later_keys: ClassVar[frozenset[str]] = (
        FoldRecipe.later_keys
        | _LATER
        | {
            "pooling",
            "prior_bias",
            "ranking_loss",
            "head",
            "servable",
            "answers",
            "template",
            "lora",
            "freeze_embeddings",
            "freeze_layers",
        }
    )

    model: Literal["encoder"] = "encoder"
    epochs: int = Field(5, ge=0)
    architecture: Literal["cross-encoder", "bi-encoder", "mixture-of-experts", "two-tower"] = (
        "cross-encoder"
    )
    pooling: Literal["auto", "first", "mean", "last", "first+mean"] = "auto"
    head: Head = NEW_HEAD
    answers: tuple[str, str] = ("yes", "no")  # tokens that the head `yes-no` compares
    template: str = ""  # empty: fields between the tokenizer's separators
    lora: Lora | None = None  # None: all weights are trained
    freeze_embeddings: bool = False
    freeze_layers: int = Field(0, ge=0)  # the first ones, with the embeddings below them
    field_order: str = "ptbcbd"  # one of the contest's
    features: tuple[str, ...] = ()  # categories of the contest, `country`, `char_trigrams`
    char_trigrams_init: Literal["random", "word2vec", "frozen"] = "random"
    servable: bool = False
    prior_bias: bool = False
    dropout: float = Field(0.1, ge=0, lt=1)
    multi_sample_dropout: int = Field(1, ge=1)
    loss: Literal["ce", "poly1", "focal", "ghm", "corn", "cumulative", "mse"]
    # Of whole lists, with the share `ranking_weight`; the rest is `loss`.
    ranking_loss: RankingLoss = "none"
    ranking_weight: float = Field(0.5, gt=0, le=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    adversary: Literal["none", "fgm-table", "fgm-row", "awp"] = "none"
    epsilon: float = Field(gt=0)
    r_drop: float = Field(0.0, ge=0)
    mixup: float = Field(0.0, ge=0)
    # A MarianMT model es -> en, by name or folder; empty: no translated rows.
    translate_with: str = ""
    rebalance: bool = False
    augmented_weight: float = Field(0.3, gt=0, le=1)
    query_context: bool = False
    seeds: tuple[int, ...] = ()  # empty: `seed` alone
    weights: Literal["last", "best"] = "last"
    lean: bool = True
    compile: bool = False
    checkpointing: bool = False
    sharded: bool = False

    @model_validator(mode="before")
    @classmethod
    def _defaults_that_depend(cls, content: dict[str, Any]) -> dict[str, Any]:
        loss = "mse" if content.get("kind") in NUMBERS else "ce"

        # AWP's is a share of each matrix's norm (Wu et al. 2020), FGM's a length.
        epsilon = 0.005 if content.get("adversary") == "awp" else 1.0
        content = {"loss": loss, "epsilon": epsilon, **content}
        # No class of the library carries features, and a server sees one candidate at a time.
        if content.get("servable") is True:
            content |= {"features": (), "query_context": False}
        return content

    @field_validator("features", "seeds")
    @classmethod
    def _distinct(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(set(values)) < len(values):
            raise ValueError("a value is duplicated")
        return values

    @model_validator(mode="after")
    def _head_fits(self) -> "EncoderRecipe":
        if self.head == NEW_HEAD:
            if not self.epochs:
                raise ValueError(
                    "epochs = 0 predicts without training, which needs a trained head: "
                    'set head = "pretrained" or "yes-no"'
                )
            return self

        # What belongs to a new head alone, and the value that leaves it out.
        of_new_heads = {
            "architecture": "cross-encoder",
            "features": (),
            "pooling": "auto",
            "prior_bias": False,
            "multi_sample_dropout": 1,
        }
        for key, value in of_new_heads.items():
            if getattr(self, key) != value:
                shown = {(): "[]", False: "false"}.get(value, repr(value).replace("'", '"'))
                raise ValueError(
                    f"head = {self.head!r} reads texts as it was trained to: set {key} = {shown}"
                )
        if self.loss in ORDERED_LOSSES:
            raise ValueError(f"loss = {self.loss!r} needs a new head, this one has its own logits")
        return self

    @model_validator(mode="after")
    def _lora_fits(self) -> "EncoderRecipe":
        if self.lora is None:
            return self

        unfit = {
            "sharded": self.sharded,
            "compile": self.compile,
            "freeze_embeddings, they are frozen": self.freeze_embeddings,
            "freeze_layers, they are frozen": bool(self.freeze_layers),
        }
        for name, is_there in unfit.items():
            if is_there:
                raise ValueError(f"lora trains adapters inside of whole layers, without {name}")
        return self

    @model_validator(mode="after")
    def _template_fits(self) -> "EncoderRecipe":
        if not self.template:
            return self
        if self.architecture != "cross-encoder":
            raise ValueError("a template puts query and document into one text: cross-encoder")

        first, second = (self.template.find(slot) for slot in ("{query}", "{document}"))
        once = all(self.template.count(slot) == 1 for slot in ("{query}", "{document}"))
        if self.template != "pair" and not (once and first < second):
            raise ValueError(
                'template must be "pair" or hold {query} once, and {document} once behind it'
            )
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> "EncoderRecipe":
        if (self.loss == "mse") != (self.kind in NUMBERS):
            raise ValueError(
                f"loss = {self.loss!r} does not go with kind = {self.kind!r}: numbers take mse, classes not"
            )
        if self.label_smoothing and self.kind in NUMBERS:
            raise ValueError(f"label_smoothing is for classes, the kind is {self.kind}")

        if self.architecture == "two-tower" and self.pooling != "auto":
            raise ValueError(
                'two-tower reads all tokens and takes means of its own: leave pooling at "auto"'
            )

        self._check_servable()
        self._check_ranking_loss()
        if self.compile and not self.lean:
            raise ValueError("compile goes with lean = true")
        if self.checkpointing and self.adversary == "awp":
            raise ValueError(
                "checkpointing computes layers again with the weights as they are, awp has moved them"
            )

        if self.sharded and self.adversary == "awp":
            raise ValueError(
                "awp moves whole weights, sharded processes hold parts: take fgm-table, or sharded = false"
            )
        if self.sharded and self.compile:
            raise ValueError(
                "sharded layers are not compiled: set compile = false, or sharded = false"
            )
        return self

    def _check_servable(self) -> None:
        if not self.servable:
            return
        if self.architecture != "cross-encoder":
            raise ValueError(
                'servable goes with architecture = "cross-encoder": servers read query and product '
                "as one text"
            )
        if self.loss in ORDERED_LOSSES:
            raise ValueError(
                f"servable does not go with loss = {self.loss!r}: no server has its link"
            )
        if self.head == YES_NO_HEAD:
            raise ValueError(f"servable goes with a classifier, not with head = {self.head!r}")
        if self.template not in ("", "pair"):
            raise ValueError('servable goes with template = "pair": servers know no other')
        if self.pooling == "first+mean":
            raise ValueError("servable goes with one pooled vector: set pooling to auto")

    def _check_ranking_loss(self) -> None:
        """Refuse what a loss of whole lists does not go with."""
        if self.ranking_loss == "none":
            return

        if self.kind not in ("classes", *NUMBERS):
            raise ValueError(
                f"ranking_loss orders rows by their gain, and kind = {self.kind!r} tells one label apart: take "
                'kind = "gain" or "classes"'
            )
        if self.kind == "classes" and self.ranking_weight == 1:
            raise ValueError(
                "with ranking_weight = 1 nothing teaches the probabilities of classes: set it below 1, or take "
                'kind = "gain"'
            )
        if self.mixup:
            raise ValueError(
                "mixup mixes rows of different queries, which a ranking_loss cannot compare: set mixup = 0"
            )
        if self.adversary == "fgm-row":
            raise ValueError(
                "fgm-row attacks each row by the loss that is its own, and a ranking_loss is of whole lists: take "
                "fgm-table"
            )
        if self.rebalance:
            raise ValueError(
                "rebalance splits rows into pieces, of which a ranking_loss would make lists: set rebalance = false"
            )
        if self.weight_noise_from:
            raise ValueError(
                "weight_noise_from weighs single rows, and a ranking_loss is of whole lists: take drop_noise_from or "
                "relabel_noise_from"
            )

    def unused_keys(self) -> set[str]:
        """Return the keys that are switched off: also the share of a ranking loss that there is not."""
        unused = super().unused_keys()
        return unused | {"ranking_weight"} if self.ranking_loss == "none" else unused

    @property
    def fused(self) -> bool:
        """True where AdamW is one kernel on CPUs, too: with `lean`, whose numbers differ anyway."""
        return self.lean

    @property
    def is_sharded(self) -> bool:
        """True where each of several processes holds a part of the weights alone."""
        return self.sharded

    @property
    def keeps_base(self) -> bool:
        """True where training leaves the encoder's weights as they are: they are not saved again."""
        return not self.epochs or self.lora is not None

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds whose models are averaged."""
        return self.seeds or (self.seed,)

    @property
    def for_all_rows(self) -> Self:
        """The recipe of a model that holds out no row: no score can choose an epoch, so the last one is kept."""
        return self.model_copy(update={"weights": "last"})


class LexicalRecipe(FoldRecipe):
    """LightGBM on text features alone: the lexical baseline."""

    former_keys: ClassVar[dict[str, str]] = FORMER_KEYS | FORMER_TREE_KEYS
    own_keys: ClassVar[frozenset[str]] = frozenset({"learning_rate"})

    model: Literal["lexical"] = "lexical"
    n_estimators: int = Field(100, ge=1)
    learning_rate: float = Field(0.05, gt=0)
    num_leaves: int = Field(15, ge=2)
    min_data_in_leaf: int = Field(30, ge=1)


class ImportedRecipe(FoldRecipe):
    """Outputs that another tool made, brought by `comp member add`; nothing is trained.

    With `in_sample`, they look like outputs of rows that their model was fitted on, see
    `analysis/in_sample.py`, so that their scores are approximate.
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
    n_estimators: int = Field(300, ge=1)  # per class, at most
    learning_rate: float = Field(0.05, gt=0)
    num_leaves: int = Field(15, ge=2)
    min_data_in_leaf: int = Field(30, ge=1)

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

    device_keys: ClassVar[frozenset[str]] = _ON_THE_DEVICE
    later_keys: ClassVar[frozenset[str]] = _LATER

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
