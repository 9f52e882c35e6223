"""Each rule fires in a made-up workspace that has what it looks for, and not in one that is like it without that."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from competition.analysis.diagnoses.diagnosis import Diagnosis
from competition.analysis.diagnoses.facts import TEST, Facts
from competition.analysis.diagnoses.judge import RULES
from competition.scoring.evaluation import MOVABLE
from tests.analysis.diagnoses.made import (
    B1,
    B1_RUN,
    BETTER,
    BLEND,
    EQUAL,
    HEALTHY,
    LABELS,
    LEXICAL,
    ROWS,
    RUNS,
    TALLIES,
    WORSE,
    encoder,
    ensemble,
    line,
    training,
    weights,
    with_lines,
    with_run,
    with_tallies,
)

DOCS = Path(__file__).parents[3] / "docs" / "diagnoses.md"
BY_CODE = {rule.code: rule for rule in RULES}


def found(code: str, facts: Facts) -> list[Diagnosis]:
    """What one rule finds."""
    return list(BY_CODE[code].diagnose(facts))


def submitted(**ends: object) -> Facts:
    """The workspace whose submitted run has other differences."""
    return with_lines(LEXICAL, B1, line("blend-task2", **ends))  # type: ignore[arg-type]


PUBLIC = {"task": "task2", "run": "blend-task2", "low": "0.58", "high": "0.62", "full_depth": ""}
RANKING = {"task": "task1", "metric": "nDCG"}
LISTS = (
    line("lexical", lexical=None, **RANKING, queries=1_000),
    line("lexical", lexical=None, **RANKING, queries=400, group=MOVABLE),
)
BEHIND = with_lines(LEXICAL, line("b1", 0.56, lexical=EQUAL, best=WORSE), BLEND)
UNDECIDED = with_lines(LEXICAL, line("b1", 0.59, best=(-0.02, 0.01)), BLEND)
WITHOUT_B1 = line("blend.without-b1-task2", 0.59, lexical=EQUAL, floor="blend-task2")
FOLDS = [0.57, 0.58, 0.56, 0.57, 0.2]
BASELINE = [0.5, 0.51, 0.49, 0.5, 0.5]
STALE = {"train b1 fold 0": "stale"}
SKEWED = ROWS | {"rows": 100, "locales": {"us": 40, "es": 60}}

# Code -> a workspace in which it fires, and words of its sentence.
FIRES: dict[str, tuple[Facts, str]] = {
    "missing-folds": (
        with_run("b1", unfinished={"train b1 fold 3": "missing"}),
        "b1 lacks 1 step, the first is train b1 fold 3",
    ),
    "stale-run": (
        with_run("b1", unfinished=STALE),
        "have changed since 1 step of b1, the first is train b1 fold 0",
    ),
    "stale-scores": (replace(HEALTHY, states={"scores": "stale"}), "older than the runs"),
    "stale-submission": (replace(HEALTHY, states={"submit main": "stale"}), "or was edited"),
    "no-submission": (replace(HEALTHY, states={"submit main": "missing"}), "no submission yet"),
    "task-not-answered": (replace(HEALTHY, submission={}), "No run answers task2"),
    "constant-outputs": (
        with_run("b1", card={"constant": ["b1, fold 2: outputs do not depend on the text."] * 2}),
        "b1, fold 2: outputs do not depend on the text (and 1 more fold).",
    ),
    "one-answer": (
        with_tallies(answers={"task2": {"b1": {"exact": 1_000, "substitute": 0, "complement": 0}}}),
        "b1 answers 'exact' for each of 1,000 rows",
    ),
    "never-answers-a-class": (
        with_tallies(
            answers={"task2": {"blend-task2": {"exact": 900, "substitute": 100, "complement": 0}}}
        ),
        "blend-task2 never answers 'complement' (100 rows)",
    ),
    "behind-constant": (
        submitted(constant=WORSE),
        "worse than the constant answer 'exact' (-0.0200",
    ),
    "no-better-than-constant": (
        submitted(constant=EQUAL),
        "not significantly better than the constant answer 'exact' (+0.0100 [-0.0100, +0.0300])",
    ),
    "ahead-of-constant": (HEALTHY, "better than the constant answer 'exact' (+0.0200"),
    "behind-lexical": (submitted(lexical=WORSE), "worse than lexical (-0.0200"),
    "no-better-than-lexical": (submitted(lexical=EQUAL), "not significantly better than lexical"),
    "ahead-of-lexical": (HEALTHY, "blend-task2 is better than lexical (+0.0200"),
    "best-not-submitted": (
        with_lines(LEXICAL, line("b1", 0.7), replace(BLEND, above_best=LEXICAL.above_best)),
        "blend-task2 is submitted, but b1 is better",
    ),
    "best-undecided": (UNDECIDED, "blend-task2 has the best score, and b1 not significantly less"),
    "member-behind-constant": (
        with_lines(LEXICAL, line("b1", 0.5, constant=WORSE, best=WORSE), BLEND),
        "b1 is worse than the constant answer 'exact'",
    ),
    "encoders-behind-lexical": (
        BEHIND,
        "No neural network is better than lexical: the best, b1, differs by +0.0100",
    ),
    "no-pretraining": (
        BEHIND,
        "The encoder of b1 has not read this catalogue, and no neural network is better than the "
        "lexical baseline on task2.",
    ),
    "too-few-queries": (
        with_lines(*(replace(each, queries=29) for each in HEALTHY.lines)),
        "compared over 29 queries: too few",
    ),
    "no-labels": (replace(HEALTHY, tasks=("task1", "task2")), "No row has a label"),
    "test-disagrees": (
        with_lines(LEXICAL, B1, BLEND, line("blend-task2", 0.7, split=TEST)),
        "scores 0.6000 [0.5800, 0.6200] out-of-fold and 0.7000 [0.6800, 0.7200] on labelled test",
    ),
    "public-disagrees": (
        replace(HEALTHY, public=(PUBLIC | {"public": "0,5"},)),
        "0.5000 of blend-task2 is outside of its out-of-fold interval, [0.5800, 0.6200]",
    ),
    "test-unlike-training": (
        with_tallies(rows={"train": ROWS, "test": SKEWED}),
        "has 80% of the training rows and 40% of the test rows",
    ),
    "folds-uneven": (with_tallies(folds={"ten": [100, 151]}), "between 100 and 151 rows"),
    "rare-label": (
        with_tallies(labels={"task2": LABELS | {"complement": 49}}),
        "'complement' has 49 rows of 949",
    ),
    "lists-cannot-move": (
        replace(HEALTHY, tasks=("task1",), lines=LISTS),
        "600 of 1,000 lists score the same in any order",
    ),
    "audit-doubts-itself": (
        replace(HEALTHY, audits={"b1": {"doubts": ["7 of 15 rows would be dropped"]}}),
        "The audit of b1 doubts itself: 7 of 15 rows would be dropped.",
    ),
    "audit-skipped": (
        replace(HEALTHY, audits={"b1": {"skipped": "No row is labelled 'exact'."}}),
        "The audit of b1 was skipped: No row is labelled 'exact'.",
    ),
    "audit-not-used": (
        replace(HEALTHY, audits={"c1": {"doubts": [], "audited": 1_000}}),
        "No recipe is trained by the audit of c1, of 1,000 rows",
    ),
    "random-encoder": (with_run("b1", recipe=encoder(encoder="tiny")), "random weights"),
    "fold-off": (
        with_tallies(fold_scores={"task2": {"lexical": BASELINE, "b1": FOLDS}}),
        "b1, fold 4: it is -0.3000 micro-F1 beside lexical, and the other folds +0.0700 in the mean",
    ),
    "text-cut": (
        with_run("b1", trainings=(training(0, 0.5, cut=0.6),)),
        "b1 reads 256 tokens of a row, and 60% of the rows have more",
    ),
    "still-learning": (
        with_run("b1", trainings=(training(0, 0.4, 0.5), training(1, 0.4, 0.5))),
        "its last epoch of 2 is the best of 2 of 2 models",
    ),
    "last-epoch-worse": (
        with_run("b1", trainings=(training(0, 0.5, 0.4), training(1, 0.5, 0.4))),
        "whose held-out score is 0.1000 below that of the best one",
    ),
    "inflated-score": (
        submitted(label_paths="the audit", flatters=BETTER),
        "is too high by +0.0200 [+0.0100, +0.0300] micro-F1",
    ),
    "approximate-score": (
        submitted(label_paths="the audit of c1"),
        "labels that it counts reached it through the audit of c1",
    ),
    "few-rows-for-thresholds": (
        replace(
            with_run("blend-task2", recipe=ensemble(thresholds="macro-F1")),
            tallies=TALLIES | {"labels": {"task2": LABELS | {"complement": 49}}},
        ),
        "learns a threshold for 'complement' from 49 rows",
    ),
    "leaky-features": (with_run("blend-task2", recipe=ensemble(leaky=True)), "other tasks' lists"),
    "no-better-than-member": (UNDECIDED, "does not differ significantly from its member b1"),
    "small-weight": (
        with_run("blend-task2", card=weights(text=0.6, lexical=0.36, b1=0.04)),
        "b1 has a weight of 0.04 in blend-task2",
    ),
    "member-not-needed": (
        replace(HEALTHY, without_member=(WITHOUT_B1,)),
        "blend-task2 without b1 is not significantly worse",
    ),
    "one-member": (with_run("blend-task2", members=("b1",)), "combines one member, b1, with text"),
}

# Code -> a workspace that is near to what it looks for, where that is not the healthy one.
SILENT: dict[str, Facts] = {
    "ahead-of-constant": submitted(constant=EQUAL),
    "ahead-of-lexical": submitted(lexical=EQUAL),
    "no-pretraining": replace(BEHIND, runs=with_run("b1", pretrained=True).runs),
    "behind-lexical": with_lines(
        *(replace(each, better="lower") for each in (LEXICAL, B1)),
        line("blend-task2", 0.5, lexical=WORSE, better="lower"),
    ),
    "one-answer": with_tallies(labels={"task2": {"exact": 1_000, "substitute": 0}}),
    "never-answers-a-class": with_tallies(
        labels={"task2": LABELS | {"complement": 9}},
        answers={"task2": {"blend-task2": {"exact": 900, "substitute": 100, "complement": 0}}},
    ),
    "too-few-queries": with_lines(*(replace(each, queries=30) for each in HEALTHY.lines)),
    "test-disagrees": with_lines(LEXICAL, B1, BLEND, line("blend-task2", 0.62, split=TEST)),
    "public-disagrees": replace(
        HEALTHY, public=(PUBLIC | {"public": "0.5", "full_depth": "0.49"},)
    ),
    "folds-uneven": with_tallies(folds={"ten": [100, 150]}),
    "test-unlike-training": with_tallies(rows={"train": ROWS, "test": SKEWED | {"queries": 29}}),
    "rare-label": with_tallies(labels={"task2": LABELS | {"complement": 50}}),
    "lists-cannot-move": replace(
        HEALTHY, tasks=("task1",), lines=(LISTS[0], replace(LISTS[1], queries=500))
    ),
    "audit-not-used": replace(HEALTHY, audits={"c1": {"doubts": ["it knows too little"]}}),
    "random-encoder": with_run("b1", recipe=encoder(encoder="tiny"), pretrained=True),
    # A fold of harder queries is harder for the baseline, too.
    "fold-off": with_tallies(
        fold_scores={"task2": {"lexical": [*BASELINE[:4], 0.13], "b1": FOLDS, "blend-task2": FOLDS}}
    ),
    "text-cut": with_run("b1", trainings=(training(0, 0.5, cut=0.5),)),
    "still-learning": with_run("b1", trainings=(training(0, 0.5, 0.504), training(1, 0.5))),
    "last-epoch-worse": with_run(
        "b1", recipe=encoder(weights="best"), trainings=(*B1_RUN.trainings, training(0, 0.5, 0.4))
    ),
    "inflated-score": submitted(label_paths="the audit", flatters=EQUAL),
    "approximate-score": submitted(label_paths="the audit", flatters=EQUAL),
    "few-rows-for-thresholds": with_run("blend-task2", recipe=ensemble(thresholds="macro-F1")),
    "member-not-needed": replace(
        HEALTHY, without_member=(replace(WITHOUT_B1, above_floor=LEXICAL.above_best),)
    ),
    "small-weight": with_run("blend-task2", card=weights(text=0.6, lexical=0.35, b1=0.05)),
}


def test_every_rule_has_workspaces_here_and_a_name_of_its_own() -> None:
    assert len(BY_CODE) == len(RULES) >= 20
    assert FIRES.keys() == BY_CODE.keys() >= SILENT.keys()
    assert RUNS.keys() == HEALTHY.runs.keys()


@pytest.mark.parametrize("code", FIRES)
def test_a_rule_fires_where_there_is_what_it_looks_for(code: str) -> None:
    facts, words = FIRES[code]
    first, *_ = found(code, facts)
    assert words in first.sentence
    assert first.sentence.endswith(".")
    assert first.measured.endswith(".")
    assert (first.code, first.severity) == (code, BY_CODE[code].severity)


@pytest.mark.parametrize("code", FIRES)
def test_a_rule_is_silent_where_there_is_not(code: str) -> None:
    assert found(code, SILENT.get(code, HEALTHY)) == []
    if not code.startswith("ahead"):
        assert found(code, HEALTHY) == []


def test_problems_and_cautions_say_what_to_do() -> None:
    for code, (facts, _) in FIRES.items():
        if BY_CODE[code].severity != "note":
            assert all(each.action for each in found(code, facts)), code


def test_each_code_has_its_section_in_the_docs_and_each_section_its_code() -> None:
    text = DOCS.read_text(encoding="utf-8")
    sections = re.findall(r"^### `?([a-z-]+)`?$", text, re.MULTILINE)
    assert sorted(sections) == sorted(BY_CODE)
    for section in text.split("\n### ")[1:]:
        assert all(f"**{part}.**" in section for part in ("Means", "Measured", "Do")), section
