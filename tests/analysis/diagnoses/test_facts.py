"""What the rules judge is read from the files of a workspace, without a table of rows."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from competition.analysis.diagnoses.facts import Facts, read_facts
from competition.analysis.diagnoses.judge import judge
from competition.analysis.diagnoses.training_log import Training, read_trainings
from competition.core.atomic import write_text
from competition.core.json_files import write_json
from competition.core.workspace import Workspace
from competition.pipeline.execute import StepStates
from competition.pipeline.steps import Pipeline
from competition.scoring.scoreboard import SCOREBOARD_COLUMNS
from tests.conftest import make_workspace

SETTINGS = """
preset = "tiny"
recipes = ["lexical", "b1"]
noise_run = "lexical"
ensembles = ["blend"]
[submission]
task1 = "blend"
task2 = "lexical"
"""


def cells(task: str, run: str, score: float, **more: object) -> str:
    """A line of a table of scores."""
    row: dict[str, object] = {
        "task": task, "split": "out-of-fold", "group": "all", "run": run, "queries": 40, "unit": "query",
        "metric": "nDCG", "better": "higher", "baseline": "random order", "floor": "lexical", "score": score,
        "score_low": score - 0.1, "score_high": score + 0.1,
    } | more  # fmt: skip
    return ",".join(str(row.get(name, "")) for name in SCOREBOARD_COLUMNS)


def table(*lines: str) -> str:
    return "\n".join([",".join(SCOREBOARD_COLUMNS), *lines, ""])


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace whose files are written by hand: nothing is trained."""
    space = make_workspace(tmp_path_factory.mktemp("facts"), 20, SETTINGS)
    plan = Pipeline(space).plan
    below = {"above_best": -0.2, "above_best_low": -0.3, "above_best_high": -0.1}
    write_text(
        space.scores, table(cells("task1", "lexical", 0.6, **below), cells("task1", "b1", 0.8))
    )
    write_json(space.scores.with_suffix(".json"), {"tallies": {"folds": {"five": [9, 8]}}})
    write_json(
        space.run_card("lexical"), {"inputs": plan.run("lexical").fingerprint, "constant": ["x"]}
    )
    write_json(space.run_card("b1"), {"inputs": "of other settings"})
    write_json(space.noise_card("lexical"), {"doubts": ["a doubt"]})

    lines: list[dict[str, object]] = [
        {"fold": "0", "rows_cut": 0.25},
        {"fold": "0", "step": 50, "loss": 1.0, "epoch": 0, "rows_per_second": 64.0},
        {"fold": "0", "seed": 7, "epoch": 0, "held_out_score": 0.5},
    ]
    write_text(space.log("b1"), "\n".join(map(json.dumps, lines)))

    # Of the variants, the first is compared with the ensemble as it is, the other with an older one.
    write_text(
        space.scores,
        space.scores.read_text(encoding="utf-8") + cells("task1", "blend-task1", 0.9) + "\n",
    )
    beside = {"floor": "blend-task1", "above_floor_low": -0.2, "above_floor_high": 0.1}
    variants = [
        cells("task1", "blend.without-b1-task1", 0.85, **beside, above_floor=0.85 - 0.9),
        cells("task1", "blend.without-lexical-task1", 0.85, **beside, above_floor=0.85 - 0.7),
    ]
    write_text(space.stack_table("blend"), table(*variants))
    log = (
        "time,submission,task,run,low,high,public\n1,main,task1,a,.4,.6,\n2,main,task1,a,.4,.6,.9\n"
    )
    write_text(space.leaderboard, log)
    return space


@pytest.fixture(scope="module")
def facts(space: Workspace) -> Facts:
    pipeline = Pipeline(space)
    steps = pipeline.steps()
    states = dict.fromkeys((step.name for step in steps), "done")
    return read_facts(pipeline, StepStates(steps, states | {"train b1 fold 0": "stale"}))


def test_scores_are_read_with_their_differences(facts: Facts) -> None:
    assert [(line.run, line.score.value) for line in facts.leading("task1")] == [
        ("blend-task1", 0.9), ("b1", 0.8), ("lexical", 0.6),
    ]  # fmt: skip
    last = facts.leading("task1")[-1]
    assert last.above_best is not None
    assert (last.above_best.value, last.above_best.queries) == (-0.2, 40)
    assert (last.above_baseline, last.compares(last.above_best)) == (None, -1)
    assert facts.tallies == {"folds": {"five": [9, 8]}}


def test_runs_are_read_with_what_is_left_of_them(facts: Facts) -> None:
    assert list(facts.runs) == ["lexical", "b1", *(f"blend-task{i}" for i in (1, 2, 3))]
    assert facts.submission == {"task1": "blend-task1", "task2": "lexical"}
    assert facts.runs["b1"].unfinished == {"train b1 fold 0": "stale"}
    assert facts.states == {"train b1 fold 0": "stale"}
    assert facts.runs["blend-task1"].members == ("lexical", "b1")
    assert facts.runs["b1"].starts_random


def test_the_card_of_other_settings_is_not_read(facts: Facts) -> None:
    assert facts.runs["lexical"].card["constant"] == ["x"]
    assert facts.runs["b1"].card == {}


def test_logs_audits_and_public_scores_are_read(facts: Facts) -> None:
    assert facts.runs["b1"].trainings == (Training("0", 7, (0.5,), 50, 64.0, 0.25),)
    assert facts.runs["b1"].training_seconds == 50 * 32 / 64
    assert facts.audits["lexical"]["doubts"] == ["a doubt"]
    assert [line["public"] for line in facts.public] == [".9"]


def test_an_ensemble_without_a_member_counts_while_the_ensemble_is_the_same(facts: Facts) -> None:
    assert [line.run for line in facts.without_member] == ["blend.without-b1-task1"]


def test_a_verdict_comes_without_training(space: Workspace) -> None:
    verdict = judge(Pipeline(space))
    assert [task.task for task in verdict.tasks] == ["task1", "task2"]
    assert "missing-folds" in {diagnosis.code for diagnosis in verdict.diagnoses}
    assert verdict.next.startswith("`comp run` makes ")


def test_a_verdict_needs_no_pandas() -> None:
    # `comp status` never waits for it.
    code = "import competition.analysis.diagnoses.judge, sys; print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_an_epoch_that_is_logged_again_counts_as_it_was_logged_last(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    epochs = [(0, 0.1), (1, 0.2), (0, 0.3), (1, 0.4), (1, 0.5)]
    lines = [
        json.dumps({"fold": "0", "seed": 7, "epoch": epoch, "held_out_score": score})
        for epoch, score in epochs
    ]
    log.write_text("\n".join([*lines, '{"fold": "0", "held_out_sc']), encoding="utf-8")
    assert [each.scores for each in read_trainings(log)] == [(0.3, 0.5)]
    assert read_trainings(tmp_path / "missing.jsonl") == []
