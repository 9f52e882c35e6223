"""The real command from rows to submissions, twice."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from competition.analysis.ensemble_study import mean_weights
from competition.core.json_files import read_json
from competition.core.workspace import Workspace
from competition.data.folds import normalise
from competition.pipeline.build_runs import describe_fold
from competition.pipeline.steps import Pipeline
from tests.conftest import artefacts, comp, make_workspace, refused
from tests.esci import LABELS, TASKS

RECIPES = {"lexical": "classes", "c1": "classes", "r2": "gain", "t3": "substitute"}
GAIN = {"exact": 1.0, "substitute": 0.1, "complement": 0.01, "irrelevant": 0.0}


def held_out(workspace: Workspace, run: str) -> pd.DataFrame:
    """All out-of-fold rows of a run, as a reader of the files would put them together."""
    files = sorted((workspace.root / "oof" / run).glob("fold-*.parquet"))
    return pd.concat([pd.read_parquet(file) for file in files]).set_index("example_id")


def plain_ndcg(rows: pd.DataFrame) -> float:
    """nDCG of rows with query_id, product_id, label and score, spelled out."""
    values = []
    for _, group in rows.groupby("query_id"):
        gain = (
            group.sort_values(["score", "product_id"], ascending=[False, True])["label"]
            .map(GAIN)
            .to_numpy()
        )
        discount = np.log2(np.arange(len(gain)) + 2)
        ideal = (np.sort(gain)[::-1] / discount).sum()
        if ideal > 0:
            values.append((gain / discount).sum() / ideal)
    return float(np.mean(values))


def test_everything_is_there(finished: Workspace) -> None:
    for run in [*RECIPES, *(f"blend-{task}" for task in TASKS)]:
        for fold in range(5):
            assert finished.oof_fold(run, fold).is_file()
            assert finished.test_fold(run, fold).is_file()
        assert read_json(finished.run_card(run))["scores"]
    assert sorted(path.name for path in finished.submission("main").iterdir()) == [
        "submission.json", "task1.csv", "task2.csv", "task3.csv",
    ]  # fmt: skip
    assert len(pd.read_csv(finished.leaderboard)) == 3


def test_each_training_row_is_predicted_once_by_a_fold_that_never_saw_its_text(
    finished: Workspace,
) -> None:
    examples = pd.read_parquet(finished.examples)
    train = examples[examples["split"] == "train"].set_index("example_id")
    folds = pd.read_parquet(finished.folds("five")).set_index("query_id")["fold"]
    for run in RECIPES:
        assert sorted(held_out(finished, run).index) == sorted(train.index)
        for fold in range(5):
            ids = pd.read_parquet(finished.oof_fold(run, fold))["example_id"]
            assert set(train.loc[ids, "query_id"].map(folds)) == {fold}
            inside = set(train.loc[ids, "query"].map(normalise))
            assert inside.isdisjoint(train.drop(index=ids)["query"].map(normalise))


@pytest.mark.parametrize("run", ["lexical", "c1", "r2", "blend-task1"])
def test_reported_ndcg_is_that_of_the_files(finished: Workspace, run: str) -> None:
    outputs = held_out(finished, run)
    if f"p_{LABELS[0]}" in outputs:
        outputs["score"] = sum(outputs[f"p_{label}"] * gain for label, gain in GAIN.items())
    elif "gain" in outputs:
        outputs["score"] = outputs["gain"]
    examples = pd.read_parquet(finished.examples).set_index("example_id")
    rows = examples[(examples["split"] == "train") & examples["task1"]].join(outputs["score"])
    reported = read_json(finished.run_card(run))["scores"]["task1"]["nDCG"]["all"]["value"]
    assert reported == pytest.approx(plain_ndcg(rows), abs=1e-9)


@pytest.mark.parametrize("run", ["lexical", "c1", "blend-task2"])
def test_reported_f1_is_that_of_the_files(finished: Workspace, run: str) -> None:
    outputs = held_out(finished, run)[[f"p_{label}" for label in LABELS]]
    predicted = outputs.idxmax(axis=1).str.removeprefix("p_")
    examples = pd.read_parquet(finished.examples).set_index("example_id")
    right = (predicted == examples["label"].reindex(predicted.index)).mean()
    reported = read_json(finished.run_card(run))["scores"]["task2"]["micro-F1"]["all"]["value"]
    assert reported == pytest.approx(right, abs=1e-12)


@pytest.mark.parametrize("run", ["c1", "t3", "blend-task3"])
def test_reported_substitute_f1_is_that_of_the_files(finished: Workspace, run: str) -> None:
    predicted = held_out(finished, run)["p_substitute"] > 0.5
    examples = pd.read_parquet(finished.examples).set_index("example_id")
    right = (predicted == (examples["label"].reindex(predicted.index) == "substitute")).mean()
    reported = read_json(finished.run_card(run))["scores"]["task3"]["micro-F1"]["all"]["value"]
    assert reported == pytest.approx(right, abs=1e-12)


def test_a_fold_is_shown_beside_the_lexical_baseline(finished: Workspace) -> None:
    pipeline = Pipeline(finished)
    fold = pipeline.plan.fold(pipeline.recipes.member("c1"), 1)
    ids = pd.read_parquet(finished.oof_fold("c1", 1))["example_id"]
    truth = pd.read_parquet(finished.examples).set_index("example_id").loc[ids, "label"]

    right = {}
    for run in ("c1", "lexical"):
        outputs = held_out(finished, run).loc[ids, [f"p_{label}" for label in LABELS]]
        answers = outputs.idxmax(axis=1).str.removeprefix("p_")
        right[run] = (answers == truth).mean()
    assert describe_fold(pipeline.tables, pipeline.plan, fold) == (
        f"c1 fold 1: task2 micro-F1 {right['c1']:.4f}, lexical {right['lexical']:.4f} on the same rows"
    )


def test_the_table_of_scores_says_what_the_runs_say(finished: Workspace) -> None:
    table = pd.read_csv(finished.scores)
    mine = table[(table["split"] == "out-of-fold") & (table["group"] == "all")]
    for line in mine.itertuples():
        reported = read_json(finished.run_card(line.run))["scores"][line.task][line.metric]["all"]
        assert (line.score, line.score_low, line.score_high) == pytest.approx(
            (reported["value"], reported["low"], reported["high"])
        )
    assert set(mine["run"]) == {*RECIPES, *(f"blend-{task}" for task in TASKS)}


def test_the_submission_scores_what_the_table_says(finished: Workspace) -> None:
    result = comp(
        "score", finished.submission("main") / "task1.csv", "--task", "task1", "-w", finished.root
    )
    table = pd.read_csv(finished.scores)
    line = table[
        (table["run"] == "blend-task1") & (table["split"] == "test") & (table["group"] == "all")
    ].iloc[0]
    assert result.exit_code == 0
    assert f"{line['score']:.6f}" in result.output
    for task in TASKS:
        checked = comp(
            "check",
            finished.submission("main") / f"{task}.csv",
            "--task",
            task,
            "-w",
            finished.root,
        )
        assert checked.exit_code == 0
        assert "a valid answer" in checked.output


def test_a_second_run_does_nothing_and_says_so(finished: Workspace) -> None:
    before = artefacts(finished.root)
    result = comp("run", "-w", finished.root)
    assert result.exit_code == 0
    assert "Nothing to do: everything is up to date." in result.output
    assert artefacts(finished.root) == before
    assert "Everything is up to date." in comp("status", "-w", finished.root).output


def test_a_fresh_workspace_gets_the_same_bytes_through_the_installed_command(
    finished: Workspace, tmp_path: Path
) -> None:
    again = make_workspace(tmp_path / "again")
    # Some are there already; trees, an encoder, the ensemble of a task and all that follows are made.
    for folder in ("oof", "models"):
        for run in ("c1", "r2", "blend-task2", "blend-task3"):
            source = finished.root / folder / run
            shutil.copytree(source, again.root / folder / run, dirs_exist_ok=True)
        # Of t3, one fold is to be trained.
        for path in sorted((finished.root / folder / "t3").glob("*-[1-4]*")):
            target = again.root / folder / "t3" / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if path.is_dir() else shutil.copy)(path, target)
    command = [sys.executable, "-m", "competition", "run", "-w", str(again.root)]
    done = subprocess.run(command, capture_output=True, text=True, env=None, check=False)
    assert done.returncode == 0, done.stderr
    assert "train lexical fold 0" in done.stdout
    assert "train t3 fold 0" in done.stdout
    assert "train c1 fold 0" not in done.stdout
    stacked = {task for task in TASKS if f"stack blend-{task}" in done.stdout}
    assert stacked == {"task1"}
    assert artefacts(again.root) == artefacts(finished.root)


def test_the_noise_that_was_dropped_is_in_the_files(finished: Workspace) -> None:
    result = comp("cleanlab", "-w", finished.root)
    assert result.exit_code == 0
    assert "share dropped" in result.output
    assert "The worst rows" in result.output
    flags = pd.read_parquet(finished.noise("c1"))
    examples = pd.read_parquet(finished.examples)
    assert sorted(flags["example_id"]) == sorted(
        examples.loc[examples["split"] == "train", "example_id"]
    )
    assert flags["dropped"].sum() <= 0.04 * len(flags)


def test_one_fold_at_a_time(finished: Workspace) -> None:
    result = comp("train", "--fold", "0", "-w", finished.root)
    assert result.exit_code == 0
    assert "c1, fold 0: nothing to do" in result.output
    ids = pd.read_parquet(finished.oof_fold("c1", 0))["example_id"]
    examples = pd.read_parquet(finished.examples).set_index("example_id").loc[ids]
    outputs = held_out(finished, "c1").loc[ids, [f"p_{label}" for label in LABELS]]
    right = (outputs.idxmax(axis=1).str.removeprefix("p_") == examples["label"]).mean()
    assert f"{right:.4f} [" in result.output
    sentence = refused("train", "--fold", "5", "-w", finished.root)
    assert sentence == "Fold 5 does not exist: the recipe 'c1' has folds 0 to 4."
    assert "did you mean 'lexical'" in refused("train", "--recipe", "lexica", "-w", finished.root)
    assert "is an ensemble" in refused("train", "--recipe", "blend", "-w", finished.root)
    assert "'c1' is not an ensemble" in refused("stack", "c1", "-w", finished.root)


def test_stack_shows_what_the_ensemble_takes_of_its_members(finished: Workspace) -> None:
    result = comp("stack", "blend", "--only", "-w", finished.root)
    assert result.exit_code == 0
    assert "Nothing to do" in result.output
    for task in TASKS:
        weights = mean_weights(read_json(finished.run_card(f"blend-{task}"))["weights"])
        assert sum(weights.values()) == pytest.approx(1)
        largest = max(weights, key=lambda name: weights[name])
        assert f"{largest} {weights[largest]:.2f}" in result.output


def test_submissions_from_one_run(finished: Workspace) -> None:
    result = comp("submit", "--from", "c1", "-w", finished.root)
    assert result.exit_code == 0
    assert sorted(path.name for path in finished.submission("c1").glob("*.csv")) == [
        "task1.csv",
        "task2.csv",
        "task3.csv",
    ]
    assert "'r2' does not answer task3" in refused(
        "submit", "--from", "r2", "--task", "task3", "-w", finished.root
    )
    assert "no task 'task9'" in refused("submit", "--task", "task9", "-w", finished.root)
    one = comp("submit", "--from", "lexical", "--task", "task2", "-w", finished.root)
    assert one.exit_code == 0
    assert [path.name for path in finished.submission("lexical-task2").glob("*.csv")] == [
        "task2.csv"
    ]


def test_folds_shows_shares_and_checks_for_leaks(finished: Workspace) -> None:
    result = comp("folds", "-w", finished.root)
    assert result.exit_code == 0
    assert "No query text is in two folds." in result.output
    assert "Folds of scheme ten" in result.output
    assert "complement" in result.output
