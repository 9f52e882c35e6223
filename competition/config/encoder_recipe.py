"""The recipe of a model that reads text: what each key means, its default, and which keys go together."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from competition.config.base_recipe import (
    LATER_KEYS,
    NUMBERS,
    ON_THE_DEVICE,
    FoldRecipe,
    TrainingKeys,
)
from competition.config.keys import Lora

ORDERED_LOSSES = ("corn", "cumulative")  # of classes that have an order
Head = Literal["new", "pretrained", "yes-no"]
NEW_HEAD: Head = "new"
PRETRAINED_HEAD: Head = "pretrained"
YES_NO_HEAD: Head = "yes-no"
RankingLoss = Literal[
    "none", "ranknet", "lambdarank", "ndcg-loss1", "ndcg-loss2", "ndcg-loss2pp", "listnet", "listmle",
    "approx-ndcg", "margin-mse",
]  # fmt: skip


class EncoderRecipe(FoldRecipe, TrainingKeys):
    """A model that reads query and product as text, and how it is fine-tuned.

    `pooling` is how a text becomes one vector: by its first token, its last, by the mean of all, or
    the first and the mean side by side; `auto` is what the encoder was made with, see
    `models/encoder/pooling.py`. With `prior_bias`, the untrained model says of every pair what
    training rows say on average, so that the encoder need not learn it.

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
    device_keys: ClassVar[frozenset[str]] = ON_THE_DEVICE | {
        "lean", "compile", "checkpointing", "sharded", "translate_with",
    }  # fmt: skip
    later_keys: ClassVar[frozenset[str]] = (
        FoldRecipe.later_keys
        | LATER_KEYS
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

    @field_validator("answers")
    @classmethod
    def _differ(cls, answers: tuple[str, str]) -> tuple[str, str]:
        if answers[0] == answers[1]:
            raise ValueError("the two answers must be different words")
        return answers

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
            if self.head != NEW_HEAD:
                raise ValueError('servable and a trained head go with template = "pair"')
            if " {query}" in self.template or " {document}" in self.template:
                raise ValueError(
                    "servers tokenise query and document by themselves: with servable, no blank may "
                    "stand before {query} or {document} in the template"
                )
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
    def attacks_weights(self) -> bool:
        """True where a pass runs with other weights than the model's."""
        return self.adversary == "awp"

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
