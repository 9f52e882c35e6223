"""Tables of what helped, each row as what differs from a recipe: of the paper, of tuning and of ranking losses."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from competition.config.recipe import RankingLoss

# Where a row names a run to learn from: that of the same seed.
FIRST_ROW = "the run of the table's first row"


@dataclass(frozen=True)
class AblationRow:
    """The keys in which a row differs from the recipe of its table, and the published score where there is one."""

    name: str
    changes: dict[str, Any]
    paper: float | None = None
    # Of the recipe `pretrained`, whose encoder the row then starts from.
    pretraining: dict[str, Any] | None = None
    paper_mlm: float | None = None
    # Role of the task -> published difference to the first row.
    paper_minus: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class AblationTable:
    """A table of rows; the paper's figures are cross-validated on the full data with InfoXLM-large."""

    number: int | None  # in the paper; None for one that is not of it
    recipe: str
    roles: tuple[str, ...]  # of the tasks, see `Contest.representative`; the paper's first
    rows: tuple[AblationRow, ...]
    labels: bool = False  # about targets and weights: any classifier will do
    to_first: bool = False  # each row is compared with the first, not with the one before


def _cumulative(
    start: dict[str, Any], rows: list[tuple[str, dict[str, Any], float]]
) -> Iterator[AblationRow]:
    changes = start

    # Each row keeps what those before it added.
    for name, added, paper in rows:
        changes = changes | added
        yield AblationRow(name, changes, paper)


_TUNING: list[tuple[str, dict[str, Any]]] = [
    ("mean", {"pooling": "mean"}),
    ("head-rate", {"head_learning_rate": 1e-3}),
    ("prior", {"prior_bias": True}),
    ("warm-up", {"warmup_steps": 50}),
    ("layer-decay", {"layer_decay": 0.9}),
    ("tokens", {"max_length": 96}),
]
_UNTUNED = {
    "pooling": "first",
    "head_learning_rate": 0.0,
    "prior_bias": False,
    "warmup_steps": 0,
    "layer_decay": 1.0,
}


def _tuning() -> Iterator[AblationRow]:
    """Yield rows of which each changes one key more, from the recipe's rate and length on."""
    changes = _PLAIN | _UNTUNED
    yield AblationRow("first", changes)

    for name, added in _TUNING:
        changes = changes | added
        yield AblationRow(name, changes)


def _ranking() -> Iterator[AblationRow]:
    """Yield the loss of single rows, each of whole lists in its place, and one of them beside it."""
    yield AblationRow("mse", _PLAIN)

    for loss in get_args(RankingLoss):
        if loss != "none":
            yield AblationRow(loss, _PLAIN | {"ranking_loss": loss, "ranking_weight": 1.0})
    yield AblationRow("mse-ranknet", _PLAIN | {"ranking_loss": "ranknet", "ranking_weight": 0.5})


_PLAIN = {"ema": 0.0, "adversary": "none", "r_drop": 0.0, "mixup": 0.0}
_NAMES = ("brand", "color", "country")
_UNITS = (*_NAMES, "char_trigrams")

# Learns the labels as they are.
KEEP_LABELS = {
    "drop_noise_from": "",
    "weight_noise_from": "",
    "relabel_noise_from": "",
    "distill_from": "",
    "nested": False,
}
_REMOVED = {"rank": 0.005, "classify": -0.003, "positive": -0.002}

_NO_TASKS = {"query": 0.0, "brand": 0.0, "color": 0.0, "contrastive": 0.0}


def _pretraining(rows: list[tuple[str, dict[str, Any], float, float]]) -> Iterator[AblationRow]:
    fine_tuned = _PLAIN | {"loss": "ce", "features": _NAMES}
    yield AblationRow("none", fine_tuned)

    # The fine-tuning stays as it is, and the pre-training has one task more in each row.
    tasks = _NO_TASKS
    for name, added, mlm, paper in rows:
        tasks = tasks | added
        yield AblationRow(name, fine_tuned, paper, tasks, mlm)


ABLATION_TABLES: dict[str, AblationTable] = {
    "pretraining": AblationTable(
        3,
        "t2",
        ("classify", "rank"),
        tuple(
            _pretraining(
                [
                    ("mlm", {}, 1.966, 0.7497),
                    ("product2query", {"query": 2.0}, 1.969, 0.7505),
                    ("product2brand", {"brand": 0.5, "color": 0.5}, 1.978, 0.7508),
                    ("contrastive", {"contrastive": 1.0}, 2.047, 0.7508),
                ]
            )
        ),
    ),
    "losses": AblationTable(
        4,
        "t2",
        ("classify",),
        tuple(
            AblationRow(loss, _PLAIN | {"loss": loss}, paper)
            for loss, paper in (
                ("ce", 0.7508),
                ("focal", 0.7473),
                ("ghm", 0.7485),
                ("poly1", 0.7521),
            )
        ),
    ),
    "methods": AblationTable(
        5,
        "t2",
        ("classify",),
        tuple(
            _cumulative(
                _PLAIN,
                [
                    ("poly1", {"loss": "poly1"}, 0.7521),
                    ("ema", {"ema": 0.999}, 0.7519),
                    ("fgm", {"adversary": "fgm-table", "epsilon": 1.0}, 0.7530),
                    ("r-drop", {"r_drop": 0.5}, 0.7543),
                    ("mixup", {"mixup": 0.2}, 0.7543),
                ],
            )
        ),
    ),
    "noise": AblationTable(
        6,
        "c1",
        ("classify", "rank", "positive"),
        (
            AblationRow("keep", KEEP_LABELS),
            AblationRow("drop", KEEP_LABELS | {"drop_noise_from": FIRST_ROW}, paper_minus=_REMOVED),
            AblationRow("weight", KEEP_LABELS | {"weight_noise_from": FIRST_ROW}),
            AblationRow("relabel", KEEP_LABELS | {"relabel_noise_from": FIRST_ROW}),
            AblationRow("distil", KEEP_LABELS | {"distill_from": FIRST_ROW}),
        ),
        labels=True,
        to_first=True,
    ),
    "char3": AblationTable(
        7,
        "t3",
        ("positive",),
        (
            AblationRow("none", {"features": _NAMES}),
            AblationRow("random", {"features": _UNITS, "char_trigrams_init": "random"}),
            AblationRow("word2vec", {"features": _UNITS, "char_trigrams_init": "word2vec"}, 0.8533),
            AblationRow("frozen", {"features": _UNITS, "char_trigrams_init": "frozen"}, 0.8529),
        ),
    ),
    "tuning": AblationTable(None, "c1", ("classify", "rank"), tuple(_tuning())),
    "ranking": AblationTable(None, "r1", ("rank",), tuple(_ranking()), to_first=True),
}
