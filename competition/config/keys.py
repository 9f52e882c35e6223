"""The tables of TOML that are no recipe of their own: lengths of fake queries, and how labels are audited."""

from typing import Literal

from pydantic import Field, model_validator

from competition.core.toml_files import StrictModel

# Today's keys and values -> what earlier releases called them. Fingerprints go on with the earlier names, so that
# nothing has to be trained again; files that still have them are read with a warning for one more release.
FORMER_KEYS = {
    "description": "about",
    "distill_from": "distil_from",
    "distill_weight": "distilled",
    "char_trigrams_init": "char3_init",
}
FORMER_TREE_KEYS = {  # of recipes that grow trees: `learning_rate` of others was always called so
    "n_estimators": "trees",
    "learning_rate": "shrinkage",
    "num_leaves": "leaves",
    "min_data_in_leaf": "min_rows_per_leaf",
}
FORMER_FEATURES = {"char_trigrams": "char3"}


class Spans(StrictModel):
    """Lengths of the pieces that a fake query is cut from, in characters: Poisson, kept within bounds by rejection.

    `whole_words` then widens a piece to the blanks around it; not for scripts without blanks.
    """

    mean: float = Field(8.0, gt=0)
    shortest: int = Field(8, ge=1)
    longest: int = 20  # of one piece
    longest_of_two: int = 12  # of each of two
    whole_words: bool = False

    @model_validator(mode="after")
    def _in_order(self) -> "Spans":
        # None may be greater than the next.
        if not self.shortest <= self.longest_of_two <= self.longest:
            raise ValueError("shortest, longest_of_two and longest must not fall")
        return self

    @classmethod
    def default(cls, dense: bool) -> "Spans":
        """Return the lengths for a script; `dense` is one whose characters say as much as words."""
        return cls.model_validate({"shortest": 4} if dense else {})


class Lora(StrictModel):
    """Adapters by LoRA (Hu et al. 2021): each target's weight W becomes W + B A alpha / rank, W stays as it is.

    `targets` are layers by the last part of their names; empty for all linear layers of the encoder.
    `quantize` is how W is kept: in fp32, in bf16, or in 4 bits (QLoRA, Dettmers et al. 2023).
    """

    rank: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.05, ge=0, lt=1)
    targets: tuple[str, ...] = ()
    quantize: Literal["none", "bf16", "4bit"] = "none"


# As `distill_from`: what came with the unlabelled rows, whoever made it.
UNLABELLED_FILE = "@unlabelled"

Tracker = Literal["tensorboard", "mlflow", "wandb"]

RUN_SEPARATOR = "+"  # between the runs that are audited together
AuditMethod = Literal[
    "prune_by_noise_rate", "low_self_confidence", "confident_learning", "both", "posterior"
]


class AuditKeys(StrictModel):
    """The audit of labels: `noise_...` in competition.toml, see `noise/audit.py`.

    `fraction` is the largest share 0..1 of the audited rows that may be dropped, `method` a filter
    of cleanlab by its name there, or `posterior`, see `noise/consensus.py`. With `per_label` and
    `per_locale` no label and no locale loses more than that share of its own rows. `calibrated`
    rescales the probabilities by a temperature first. An audit that doubts itself, see
    `noise/audit.py`, drops nothing unless `despite_doubts`.
    """

    fraction: float = Field(0.04, gt=0, lt=0.5)
    method: AuditMethod = "prune_by_noise_rate"
    per_label: bool = False
    per_locale: bool = False
    calibrated: bool = False
    despite_doubts: bool = False


# Learns the labels as they are: of recipes that are trained on folds.
KEEP_LABELS = {
    "drop_noise_from": "",
    "weight_noise_from": "",
    "relabel_noise_from": "",
    "distill_from": "",
    "nested": False,
}
