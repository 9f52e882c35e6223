"""A made-up workspace in which all is well, and what can be changed about it."""

import math
from dataclasses import replace
from typing import Any

from competition.analysis.diagnoses.facts import OUT_OF_FOLD, TEST, Facts, Line
from competition.analysis.diagnoses.run_facts import RunFacts
from competition.analysis.diagnoses.training_log import Training
from competition.config.encoder_recipe import EncoderRecipe
from competition.config.recipe import EnsembleRecipe, LexicalRecipe
from competition.scoring.intervals import Estimate

# Differences by their low and high end.
BETTER, EQUAL, WORSE = (0.01, 0.03), (-0.01, 0.03), (-0.03, -0.01)
Ends = tuple[float, float] | None
QUERIES = 200


def estimate(ends: Ends, queries: int = QUERIES) -> Estimate | None:
    """An estimate in the middle of its interval."""
    return None if ends is None else Estimate(sum(ends) / 2, *ends, queries)


def line(
    run: str,
    score: float = 0.6,
    *,
    lexical: Ends = BETTER,
    constant: Ends = BETTER,
    best: Ends = None,
    flatters: Ends = None,
    **more: Any,
) -> Line:
    """A line of task2, out-of-fold."""
    cells: dict[str, Any] = {
        "task": "task2",
        "split": OUT_OF_FOLD,
        "group": "all",
        "run": run,
        "queries": QUERIES,
        "unit": "query",
        "metric": "micro-F1",
        "better": "higher",
        "baseline": "all exact",
        "floor": "lexical",
        "label_paths": "",
    } | more
    score_estimate = Estimate(score, score - 0.02, score + 0.02, cells["queries"])
    return Line(
        **cells,
        score=score_estimate,
        above_baseline=estimate(constant),
        above_floor=estimate(lexical),
        above_best=estimate(best),
        flatters=estimate(flatters),
    )


LEXICAL = line("lexical", 0.55, lexical=None, best=WORSE)
B1 = line("b1", 0.58, best=WORSE)
BLEND = line("blend-task2", 0.6)


def training(fold: int, *scores: float, cut: float | None = 0.1) -> Training:
    """A model that was trained for an epoch per score, at 100 rows a second."""
    return Training(str(fold), 2022, scores, 50, 100.0, cut)


def run(name: str, recipe: Any, **more: Any) -> RunFacts:
    """A complete run of task2."""
    made: dict[str, Any] = {"tasks": ("task2",), "command": f"comp train --recipe {name}"}
    return RunFacts(name=name, recipe=recipe, **(made | more))


def encoder(**keys: Any) -> EncoderRecipe:
    """A recipe of a neural network."""
    return EncoderRecipe.model_validate({"name": "b1", "encoder": "mini", "batch_size": 32} | keys)


def ensemble(**keys: Any) -> EnsembleRecipe:
    """A recipe of an ensemble."""
    return EnsembleRecipe.model_validate({"name": "blend"} | keys)


def weights(**by_member: float) -> dict[str, Any]:
    """The card of an ensemble of two folds with these weights."""
    return {"weights": {str(fold): {"all": by_member} for fold in range(2)}}


B1_RUN = run("b1", encoder(), trainings=tuple(training(fold, 0.57) for fold in range(5)))
BLEND_RUN = run(
    "blend-task2",
    ensemble(),
    command="comp stack blend",
    members=("lexical", "b1"),
    card=weights(text=0.3, lexical=0.3, b1=0.4),
)
RUNS = {
    "lexical": run("lexical", LexicalRecipe(name="lexical", drop_noise_from="b1")),
    "b1": B1_RUN,
    "blend-task2": BLEND_RUN,
}
LABELS = {"exact": 600, "substitute": 300, "complement": 100}
ROWS = {"rows": 1_000, "queries": QUERIES, "depth": 5.0, "locales": {"us": 800, "es": 200}}
TALLIES: dict[str, Any] = {
    "rows": {"train": ROWS, "test": ROWS | {"rows": 100, "locales": {"us": 80, "es": 20}}},
    "folds": {"five": [200, 210, 190, 205, 195]},
    "labels": {"task2": LABELS},
    "answers": {
        "task2": {
            name: {"exact": 700, "substitute": 250, "complement": 50}
            for name in ("lexical", "b1", "blend-task2")
        }
    },
}

HEALTHY = Facts(
    tasks=("task2",),
    lines=(LEXICAL, B1, BLEND, replace(BLEND, split=TEST)),
    tallies=TALLIES,
    runs=RUNS,
    submission={"task2": "blend-task2"},
    audits={"b1": {"doubts": [], "audited": 1_000}},
)


def with_lines(*lines: Line, **more: Any) -> Facts:
    """The workspace with other lines in its table of scores."""
    return replace(HEALTHY, lines=lines, **more)


def with_run(name: str, **changes: Any) -> Facts:
    """The workspace with a run that differs."""
    return replace(HEALTHY, runs=RUNS | {name: replace(RUNS[name], **changes)})


def with_tallies(**changes: Any) -> Facts:
    """The workspace with other counts."""
    return replace(HEALTHY, tallies=TALLIES | changes)


NAN = math.nan
