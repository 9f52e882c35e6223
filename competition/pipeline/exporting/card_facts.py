"""What a model card says of a run: where it comes from, what it learned from, and what it scores."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from competition.config.encoder_recipe import EncoderRecipe
from competition.core.errors import InputError, short_repr
from competition.core.json_files import read_json
from competition.pipeline.artifacts import MINI_FOLDER
from competition.pipeline.exporting.choice import Choice
from competition.pipeline.exporting.sample import fields_of
from competition.pipeline.plan import Plan
from competition.pipeline.tables import Tables
from competition.scoring import evaluation
from competition.scoring.contest import Contest
from competition.scoring.intervals import Estimate
from competition.scoring.task import Kind

_LICENCE = re.compile(r"^license:\s*(\S+)\s*$", re.MULTILINE)
MODEL_ID = re.compile(r"[\w-]+/[\w.-]+")  # of the model hub
_LICENCE_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")
UNKNOWN = "unknown"
_SHOWN = 160  # characters of a text


@dataclass(frozen=True)
class Score:
    """A score of the run: its task, its metric, the rows it is over, and what it is."""

    task: str
    metric: str
    split: str
    estimate: Estimate
    basis: str


@dataclass(frozen=True)
class CardFacts:
    """What a model card says beside the comparison.

    Attributes:
        recipe: of the run.
        kind: of its predictions.
        labels: what the logits are of, in order.
        contest: that it was trained for.
        fields: of a product, as they are joined.
        base: the encoder's name, or what it is.
        licence: as the hub names it, or `unknown`.
        rows: of training, by locale.
        queries: of training.
        scores: of the run's folds.
        label_paths: how labels reached the out-of-fold scores, empty where they are held out.
        example: a query and a document.
        read: what the model reads of them, every token spelled out.
        weights: how many numbers the model has.
    """

    recipe: EncoderRecipe
    kind: Kind
    labels: tuple[str, ...]
    contest: Contest
    fields: tuple[str, ...]
    base: str
    licence: str
    rows: dict[str, int]
    queries: int
    scores: tuple[Score, ...]
    label_paths: tuple[str, ...]
    example: tuple[str, str]
    read: str
    weights: int

    @classmethod
    def collect(
        cls,
        plan: Plan,
        tables: Tables,
        recipe: EncoderRecipe,
        choice: Choice,
        licence: str,
        folder: Path,
    ) -> CardFacts:
        """Collect the facts of a run whose model was written to a folder."""
        from transformers import AutoTokenizer

        from competition.models.exported.writing import logit_labels

        train = tables.examples[tables.examples["split"] == "train"]
        counts = train["locale"].value_counts(sort=False)
        source = plan.artifacts.encoder_source(recipe.encoder)
        if plan.recipes.pretrained(recipe.encoder) is not None:
            source = f"{recipe.encoder}, pre-trained in the same workspace"
        longest = max(choice.sample.pairs, key=lambda pair: min(len(pair[1]), _SHOWN))
        example = (longest[0], _shortened(longest[1]))
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        ids = tokenizer(*example, truncation=True)["input_ids"]
        return cls(
            recipe=recipe,
            kind=plan.recipes.kind_of(recipe),
            labels=tuple(logit_labels(choice.model)),
            contest=plan.contest,
            fields=fields_of(recipe, plan.contest),
            base=_base(source),
            licence=licence or _licence_of(source),
            rows={str(locale): int(count) for locale, count in counts.items()},
            queries=int(train["query_id"].nunique()),
            scores=tuple(_scores(plan, tables, recipe)),
            label_paths=plan.run(recipe.name).label_paths,
            example=example,
            read=tokenizer.decode(ids),
            weights=sum(weight.numel() for weight in choice.model.parameters()),
        )


def _base(source: str) -> str:
    """Return how a card names an encoder: no path of this machine."""
    if source == str(MINI_FOLDER):
        return "mini, the encoder that comes with comp"
    if source == "tiny":
        return "tiny, trained from random weights"
    return Path(source).name if Path(source).is_dir() else source


def check_licence(licence: str) -> None:
    """Refuse a licence that is not a name as the hub has them; empty is that of the encoder."""
    if licence and not _LICENCE_NAME.fullmatch(licence):
        raise InputError(
            f"--licence {short_repr(licence)} is not the name of a licence: write it as the hub does, such as "
            "apache-2.0, mit or other."
        )


def _licence_of(source: str) -> str:
    """Return the licence that an encoder's own card states."""
    if source in (str(MINI_FOLDER), "tiny"):
        return "apache-2.0"
    card = Path(source) / "README.md"
    if not card.is_file():
        return UNKNOWN
    stated = _LICENCE.search(card.read_text(encoding="utf-8", errors="replace"))
    return stated[1] if stated else UNKNOWN


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _scores(plan: Plan, tables: Tables, recipe: EncoderRecipe) -> Iterator[Score]:
    """Yield the scores of a complete run: out of fold, and of labelled test rows; none of one that is not."""
    run_plan = plan.run(recipe.name)
    card = read_json(plan.workspace.run_card(recipe.name))
    if card.get("inputs") != run_plan.fingerprint:
        return

    for task, metrics in card["scores"].items():
        for metric, groups in metrics.items():
            estimate = Estimate.from_json(groups["all"])
            yield Score(task, metric, "out-of-fold", estimate, run_plan.basis)

    outputs = tables.read_run(run_plan).test
    test = tables.examples[tables.examples["split"] == "test"]
    for name in run_plan.tasks:
        task = plan.contest.tasks[name]
        if len(test) and not evaluation.graded_rows(task, test).empty:
            counts = evaluation.count_outputs(task, run_plan.kind, outputs, test)
            for metric, groups in evaluation.estimate_metrics(counts, ("all",)).items():
                yield Score(name, metric, "test", groups["all"], "held-out")
