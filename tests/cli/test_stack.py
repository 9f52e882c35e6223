"""`comp stack` and `comp audit-leaks` end to end."""

import shutil

import numpy as np
import pandas as pd
import pytest

from competition.core.json_files import read_json
from competition.core.parquet import read_fingerprint, read_table, write_table
from competition.core.workspace import Workspace
from tests.conftest import comp
from tests.esci import TASKS

MEMBERS = ("lexical", "c1", "r2", "t3")
LEAKY = "blend.lightgbm.leaky"
AVERAGE = "blend.paper"  # which is fitted at once


def failed(*arguments: object) -> str:
    """Run a command that must fail: exit code 1, no traceback. Returns what it complains of."""
    result = comp(*map(str, arguments))
    assert result.exit_code == 1
    assert "Traceback" not in result.output
    return " ".join(result.stderr.split())


@pytest.fixture(scope="module")
def stacked(finished: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A finished workspace in which every method was compared, and an average without each member."""
    root = tmp_path_factory.mktemp("stacked") / "w"
    shutil.copytree(finished.root, root)
    for arguments, shown in (
        (("blend",), "blend, method mixed"),
        ((AVERAGE, "--leave-out", "--only"), "without-lexical"),
    ):
        result = comp("stack", *arguments, "-w", root)
        assert result.exit_code == 0, result.output
        assert shown in result.output
    return Workspace.open(root)


@pytest.fixture(scope="module")
def table(stacked: Workspace) -> pd.DataFrame:
    """What was written of the methods."""
    return pd.read_csv(stacked.stack_table("blend"))


@pytest.fixture(scope="module")
def without_members(stacked: Workspace) -> pd.DataFrame:
    """What was written of the average without each member."""
    return pd.read_csv(stacked.stack_table(AVERAGE))


def test_every_member_and_method_is_compared(table: pd.DataFrame) -> None:
    runs = {task: set(lines["run"]) for task, lines in table.groupby("task")}
    methods = [
        "blend",
        "blend.paper",
        "blend.greedy",
        "blend.search",
        "blend.logistic",
        "blend.lightgbm",
    ]
    of_task = {
        "task1": [*methods, "blend.lambdarank"],
        "task2": [*methods, "blend.thresholds", "blend.can"],
        "task3": [*methods, "blend.thresholds"],
    }
    answered = {
        "task1": ("lexical", "c1", "r2"),
        "task2": ("lexical", "c1"),
        "task3": ("lexical", "c1", "t3"),
    }
    for task, names in of_task.items():
        assert runs[task] == {*answered[task], *(f"{name}-{task}" for name in names)}


def test_methods_are_compared_with_the_member_that_scores_best_out_of_fold(
    table: pd.DataFrame,
) -> None:
    assert set(table["floor"]) == {
        best for _, best in table.groupby("task")["floor"].first().items()
    }
    for task, lines in table[table["split"] == "out-of-fold"].groupby("task"):
        group = lines[lines["group"] == ("10+ products" if task == "task1" else "all")]
        members = group[group["run"].isin(MEMBERS)].set_index("run")
        (floor,) = set(group["floor"])
        assert members["score"].max() == members.loc[floor, "score"]
        assert np.isnan(members.loc[floor, "above_floor"])
        expected = group["score"] - members.loc[floor, "score"]
        assert group["above_floor"].fillna(0).to_numpy() == pytest.approx(
            expected.to_numpy(), abs=1e-9
        )


def test_what_a_member_adds_is_the_whole_minus_what_is_left(without_members: pd.DataFrame) -> None:
    table = without_members
    partial = table[table["run"].str.contains("without-")]
    members_of = {
        "task1": ("lexical", "c1", "r2"),
        "task2": ("lexical", "c1"),
        "task3": ("lexical", "c1", "t3"),
    }
    for task, members in members_of.items():
        without = {f"{AVERAGE}.without-{member}-{task}" for member in members}
        assert set(partial.loc[partial["task"] == task, "run"]) == without
    for (task, split, group), lines in partial.groupby(["task", "split", "group"]):
        whole = table.query(
            "run == @name and split == @split and group == @group",
            local_dict={"name": f"{AVERAGE}-{task}", "split": split, "group": group},
        )
        assert set(lines["floor"]) == {f"{AVERAGE}-{task}"}
        expected = lines["score"].to_numpy() - whole["score"].to_numpy()
        assert lines["above_floor"].to_numpy() == pytest.approx(expected, abs=1e-9)


def test_a_row_says_the_score_that_its_files_have(stacked: Workspace, table: pd.DataFrame) -> None:
    examples = pd.read_parquet(stacked.examples).set_index("example_id")
    outputs = pd.concat(
        pd.read_parquet(stacked.oof_fold("blend.thresholds-task3", k)) for k in range(5)
    ).set_index("example_id")
    rows = outputs.join(examples).query("task3")
    right = ((rows["p_substitute"] > 0.5) == rows["substitute"]).mean()
    line = table.query(
        "run == 'blend.thresholds-task3' and split == 'out-of-fold' and group == 'all'"
    )
    assert line["score"].to_numpy() == pytest.approx([right], abs=1e-9)


def test_trees_leave_their_importance_and_numbers(stacked: Workspace) -> None:
    for task in TASKS:
        run = f"blend-{task}"
        shares = pd.read_parquet(stacked.importance(run))
        assert sorted(shares["fold"].unique()) == [0, 1, 2, 3, 4]
        sums = shares.groupby("fold")["importance"].sum()
        assert np.all(np.isclose(sums, 1) | (sums == 0))  # 0: no tree helped
        rounds = read_json(stacked.run_card(run))["rounds"]
        assert [len(rounds[str(k)]) for k in range(5)] == [4] * 5  # one model per other fold


def test_a_second_comparison_makes_nothing(stacked: Workspace) -> None:
    result = comp("stack", AVERAGE, "--leave-out", "--only", "-w", stacked.root)
    assert result.exit_code == 0
    assert "Nothing to do" in result.output
    assert "without-lexical" in result.output


def test_an_ensemble_of_incomplete_runs_is_refused(stacked: Workspace) -> None:
    sentence = failed("stack", "six-model", "-w", stacked.root)
    assert "steps are missing or out of date, the first is " in sentence
    commands = [
        f"comp train --recipe {name} -w {stacked.root}" for name in ("c2", "c3", "r1", "r3")
    ]
    assert sentence.endswith(f": `{' && '.join(commands)}` builds them.")


def test_an_audit_names_what_it_looked_at(stacked: Workspace) -> None:
    result = comp("audit-leaks", "blend", "--shuffles", "1", "-w", stacked.root)
    assert result.exit_code == 0, result.output
    assert "checks passed" in result.output
    for name in ("lexical", "c1", "r2", "t3", "blend-task1", "blend-task2", "blend-task3"):
        assert name in result.output


def test_an_audit_finds_a_row_that_moved_to_another_fold(stacked: Workspace) -> None:
    root = stacked.root.parent / "moved"
    shutil.copytree(stacked.root, root)
    space = Workspace.open(root)
    first, second = (space.oof_fold("lexical", k) for k in range(2))
    inputs = [read_fingerprint(path) for path in (first, second)]
    frames = [
        read_table(path, str(fingerprint))
        for path, fingerprint in zip((first, second), inputs, strict=True)
    ]
    write_table(first, frames[0].iloc[1:].reset_index(drop=True), str(inputs[0]))
    write_table(
        second, pd.concat([frames[1], frames[0].iloc[:1]], ignore_index=True), str(inputs[1])
    )
    assert "1 of 3 checks failed" in failed("audit-leaks", "lexical", "-w", root)
    sentence = failed("stack", "blend.no-text", "--only", "-w", root)
    assert "'lexical' holds 1 rows in its fold 1 that folds/five.parquet puts elsewhere" in sentence


def test_a_submission_made_with_leaking_features_says_so(stacked: Workspace) -> None:
    assert comp("stack", LEAKY, "--only", "-w", stacked.root).exit_code == 0
    result = comp("submit", "--from", LEAKY, "--task", "task2", "-w", stacked.root)
    assert result.exit_code == 0
    assert "leak across tasks" in result.output
    assert "task2.csv" in result.output
    folder = stacked.submission(f"{LEAKY}-task2")
    assert read_json(folder / "submission.json")["made_from"]["task2"]["leaky"] is True
    log = pd.read_csv(stacked.leaderboard, dtype=str, keep_default_na=False)
    leaky = log[log["leaky"] != ""]
    assert leaky["submission"].tolist() == [folder.name]
    assert leaky["leaky"].tolist() == ["yes"]
