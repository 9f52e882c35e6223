"""The verdict: a sentence per task, the gravest first, and one thing to do next."""

from dataclasses import replace

import pytest

from competition.analysis.diagnoses.facts import TEST
from competition.analysis.diagnoses.judge import judge_facts
from competition.scoring.evaluation import DEEP, MOVABLE
from tests.analysis.diagnoses.made import (
    B1,
    BLEND,
    EQUAL,
    HEALTHY,
    LEXICAL,
    NAN,
    WORSE,
    encoder,
    line,
    training,
    with_lines,
    with_run,
)


def sentence(*lines: object) -> str:
    (task,) = judge_facts(with_lines(*lines)).tasks  # type: ignore[arg-type]
    return task.sentence


def test_a_task_has_a_sentence_with_figures_and_intervals() -> None:
    assert sentence(LEXICAL, B1, BLEND) == (
        "task2: blend-task2 is submitted (micro-F1 0.6000 over 200 queries), better than lexical "
        "(+0.0200 [+0.0100, +0.0300]) and the constant answer 'exact' (+0.0200 [+0.0100, +0.0300])."
    )
    (task,) = judge_facts(HEALTHY).tasks
    assert task.headline == (
        "task2: blend-task2 is submitted (micro-F1 0.6000 over 200 queries), better than lexical "
        "and the constant answer 'exact'."
    )
    assert (
        "not significantly better than lexical (+0.0100 [-0.0100, +0.0300]) or the constant answer 'exact'"
        in (sentence(LEXICAL, line("blend-task2", lexical=EQUAL, constant=EQUAL)))
    )
    mixed = sentence(LEXICAL, line("blend-task2", lexical=WORSE))
    assert (
        "worse than lexical (-0.0200 [-0.0300, -0.0100]), but better than the constant answer 'exact'"
        in mixed
    )


def test_the_best_run_is_named_where_another_is_submitted() -> None:
    verdict = judge_facts(with_lines(LEXICAL, line("b1", 0.7), line("blend-task2", best=EQUAL)))
    (task,) = verdict.tasks
    assert (task.best, task.equal, task.submitted) == ("b1", ("blend-task2",), "blend-task2")
    assert "is submitted (micro-F1 0.6000 over 200 queries; best is b1, 0.7000)" in task.sentence


def test_too_few_queries_are_not_compared() -> None:
    few = replace(BLEND.above_floor, low=NAN, high=NAN) if BLEND.above_floor else None
    assert (
        "compared over too few queries with lexical and better than the constant answer 'exact'"
        in sentence(replace(BLEND, above_floor=few))
    )


def test_lower_scores_may_be_better() -> None:
    lines = [
        replace(LEXICAL, better="lower"),
        replace(line("blend-task2", 0.4, lexical=WORSE, constant=WORSE), better="lower"),
    ]
    assert (
        "better than lexical (-0.0200 [-0.0300, -0.0100]) and the constant answer 'exact'"
        in sentence(*lines)
    )
    assert "(micro-F1 0.4000 over 200 queries, lower is better), better" in sentence(*lines)


@pytest.mark.parametrize(
    ("deep", "group", "over"),
    [
        (20, DEEP, "over 20 queries with 10+ products"),
        (19, MOVABLE, "over 50 queries that can move"),
    ],
)
def test_lists_that_tell_runs_apart_are_spoken_of(deep: int, group: str, over: str) -> None:
    lines = [
        BLEND,
        replace(BLEND, group=MOVABLE, queries=50),
        replace(BLEND, group=DEEP, queries=deep),
    ]
    (task,) = judge_facts(with_lines(*lines)).tasks
    assert task.group == group
    assert over in task.sentence


def test_test_rows_speak_where_no_training_row_has_a_label() -> None:
    (task,) = judge_facts(with_lines(replace(BLEND, split=TEST))).tasks
    assert task.split == TEST
    (task,) = judge_facts(with_lines()).tasks
    assert task.sentence == "task2: no run has a score yet."


def test_what_is_named_is_only_submitted_where_there_are_test_rows() -> None:
    facts = replace(HEALTHY, has_test_rows=False, submission={})
    (task,) = judge_facts(facts).tasks
    assert task.sentence.startswith("task2: blend-task2 is best (micro-F1 0.6000 over 200 queries)")
    assert task.submitted == ""

    # The rules judge the best run, and none says that something is submitted.
    found = judge_facts(facts).diagnoses
    assert {"ahead-of-lexical", "ahead-of-constant"} <= {each.code for each in found}
    behind = with_lines(
        LEXICAL, line("b1", 0.7), line("blend-task2", best=WORSE, constant=WORSE, lexical=WORSE)
    )
    assert "blend-task2 is submitted, but b1 is better" in judge_facts(behind).next
    verdict = judge_facts(replace(behind, has_test_rows=False, submission={}))
    assert "b1 is best (micro-F1 0.7000 over 200 queries), better than" in verdict.tasks[0].sentence
    assert not any("submit" in f"{each.sentence} {each.action}" for each in verdict.diagnoses)


def test_the_gravest_diagnosis_comes_first() -> None:
    facts = with_lines(LEXICAL, B1, line("blend-task2", constant=WORSE, lexical=EQUAL))
    severities = [each.severity for each in judge_facts(facts).diagnoses]
    order = ["problem", "caution", "note"]
    assert severities == sorted(severities, key=order.index)
    assert severities[0] == "problem"


def test_what_is_missing_is_made_before_anything_else() -> None:
    facts = replace(HEALTHY, states={"scores": "missing", "submit main": "missing"})
    assert judge_facts(facts).next == "`comp run` makes 2 steps that are missing or out of date."


def test_what_is_wrong_comes_before_what_may_help() -> None:
    constant = with_run("b1", card={"constant": ["b1, fold 0: outputs do not depend on the text."]})
    assert judge_facts(constant).next.startswith("b1, fold 0: outputs do not depend on the text.")


def test_pre_training_is_suggested_with_the_cost_of_training_again() -> None:
    large = with_run("b1", recipe=encoder(encoder="intfloat/multilingual-e5-small")).runs
    behind = with_lines(LEXICAL, line("b1", 0.56, lexical=EQUAL, best=WORSE), BLEND, runs=large)
    # Five folds of 50 steps of 32 rows, at 100 rows a second: 80 s.
    assert 'encoder = "pretrained"' in judge_facts(behind).next
    assert "training b1 took 80 s" in judge_facts(behind).next

    pretrained = replace(behind, runs=large | {"b1": replace(large["b1"], pretrained=True)})
    assert 'encoder = "pretrained"' not in judge_facts(pretrained).next


def test_more_epochs_are_suggested_with_their_cost() -> None:
    facts = with_run("b1", trainings=(training(0, 0.4, 0.5),), recipe=encoder(epochs=2))
    suggested = judge_facts(facts).next
    assert "Set epochs = 4 in [overrides]" in suggested
    assert "training b1 took 16 s and would take 32 s" in suggested


def test_a_workspace_without_a_neural_network_should_train_one() -> None:
    lexical_alone = replace(HEALTHY, runs={"lexical": HEALTHY.runs["lexical"]})
    assert "comp train --recipe b1 --dry-run" in judge_facts(lexical_alone).next


def test_a_larger_encoder_than_the_included_one_is_suggested_and_last_the_report() -> None:
    # 12 layers of width 384 take 9 times as long as 3 of 256: 9 x 80 s.
    assert 'preset = "e5-small"' in judge_facts(HEALTHY).next
    assert "training b1 took 80 s and would take 12 min" in judge_facts(HEALTHY).next
    behind = with_lines(LEXICAL, line("b1", 0.56, lexical=EQUAL, best=WORSE), BLEND)
    assert 'preset = "e5-small"' in judge_facts(behind).next

    large = with_run("b1", recipe=encoder(encoder="intfloat/multilingual-e5-small"))
    assert "`comp report`" in judge_facts(large).next
