"""The log of submissions and what the competition answered."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from competition.core.console import results
from competition.core.workspace import Workspace
from competition.scoring import leaderboard
from tests.conftest import comp, refused

LINES = [
    {"submission": "main", "task": "task1", "run": "blend-task1", "metric": "nDCG", "out_of_fold": "0.850000",
     "low": "0.840000", "high": "0.860000"},
    {"submission": "main", "task": "task2", "run": "blend-task2", "metric": "micro-F1", "out_of_fold": "0.700000",
     "low": "0.690000", "high": "0.710000"},
    {"submission": "c1-task2", "task": "task2", "run": "c1", "metric": "micro-F1"},
]  # fmt: skip


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    """A workspace with a log of two submissions, one of which was written twice."""
    (tmp_path / "competition.toml").write_text("")
    space = Workspace.open(tmp_path)
    leaderboard.append_lines(space, LINES)
    leaderboard.append_lines(space, LINES[:1])
    return space


def test_an_answer_goes_to_the_newest_line(space: Workspace) -> None:
    result = comp(
        "leaderboard", "add", "main", "--task", "task1", "--public", "0.8731", "-w", space.root
    )
    assert result.exit_code == 0
    assert "0.8731" in result.output
    assert "+0.0231" in result.output
    log = pd.read_csv(space.leaderboard)
    assert log["public"].tolist()[3] == 0.8731
    assert log["public"].notna().sum() == 1
    assert log["private"].isna().all()


def test_an_interval_stays_in_one_line_of_a_terminal(
    space: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "_width", 80)
    scores = ["--public", "0.8731"]
    table = comp("leaderboard", "-w", space.root).output
    comp("leaderboard", "add", "main", "--task", "task1", *scores, "-w", space.root)
    wider = comp("leaderboard", "-w", space.root).output
    for output in (table, wider):
        lines = output.splitlines()
        assert sum("0.8500 [0.8400, 0.8600]" in line for line in lines) == 2
        assert max(map(len, lines[:-1])) <= 80


def test_another_answer_leaves_the_first(space: Workspace) -> None:
    comp("leaderboard", "add", "c1-task2", "--public", "0.61", "-w", space.root)
    comp("leaderboard", "add", "c1-task2", "--private", "0.6", "-w", space.root)
    line = pd.read_csv(space.leaderboard).iloc[2]
    assert (line["public"], line["private"]) == (0.61, 0.6)
    told = json.loads(comp("leaderboard", "-w", space.root, "--json").stdout)["tables"][0]["rows"]
    assert [row["public"] for row in told] == [None, None, 0.61, None]
    assert told[2]["out_of_fold"] is None
    assert told[0]["metric"] == "nDCG"
    assert told[0]["out_of_fold"] == {"value": 0.85, "low": 0.84, "high": 0.86, "queries": None}


def test_public_scores_are_compared_with_the_score_that_is_shown(space: Workspace) -> None:
    # The newest line of the log, as of a ranking of 10+ products.
    log = pd.read_csv(space.leaderboard, dtype=str, keep_default_na=False)
    log.assign(can_move="0.84", full_depth="0.83").to_csv(space.leaderboard, index=False)
    where = (
        "leaderboard",
        "add",
        "main",
        "--task",
        "task1",
        "--public",
        "0.8731",
        "-w",
        space.root,
    )
    output = " ".join(comp(*where).output.split())
    assert "0.8300 (10+ products)" in output
    assert "+0.0431" in output  # 0.8731 - 0.83
    assert "main/task1: 0.8500 over all queries (public score: +0.0231)" in output  # 0.8731 - 0.85

    told = json.loads(comp("leaderboard", "-w", space.root, "--json").stdout)["tables"][0]["rows"]
    assert told[3]["above_leading"] == pytest.approx(0.8731 - 0.83)
    assert told[3]["above"] == pytest.approx(0.8731 - 0.85)


def test_what_is_usual_fits_into_100_columns(space: Workspace) -> None:
    where = ("leaderboard", "add", "main", "--task", "task1", "-w", space.root)
    lines = comp(*where, "--public", "0.8731", "--private", "0.8729").output.splitlines()
    assert max(map(len, lines)) <= 100
    assert "main/task1" in lines[3]
    assert "0.8500 [0.8400, 0.8600]" in lines[3]


def test_a_later_submission_keeps_the_answers(space: Workspace) -> None:
    comp("leaderboard", "add", "c1-task2", "--public", "0.61", "-w", space.root)
    leaderboard.append_lines(space, LINES[:1])
    log = pd.read_csv(space.leaderboard)
    assert len(log) == 5
    assert log["public"].tolist()[2] == 0.61


def test_an_older_log_has_no_answers_yet(space: Workspace) -> None:
    old = pd.read_csv(space.leaderboard, dtype=str, keep_default_na=False).drop(
        columns=["public", "private"]
    )
    old.to_csv(space.leaderboard, index=False)
    assert (
        comp(
            "leaderboard", "add", "main", "--task", "task2", "--public", "0.7", "-w", space.root
        ).exit_code
        == 0
    )
    new = pd.read_csv(space.leaderboard, dtype=str, keep_default_na=False)
    pd.testing.assert_frame_equal(new[list(old.columns)], old)
    assert new["public"].tolist() == ["", "0.7", "", ""]


def test_what_cannot_be_recorded_is_refused_and_nothing_changes(space: Workspace) -> None:
    before = space.leaderboard.read_bytes()

    def add(*arguments: str) -> str:
        return refused("leaderboard", "add", *arguments, "-w", space.root)

    assert add("mian", "--public", "0.8") == (
        "There is no submission 'mian' (did you mean 'main'?): known are main, c1-task2."
    )
    assert "answers task1, task2: say which with --task" in add("main", "--public", "0.8")
    assert "does not answer task3, only task1, task2" in add(
        "main", "--task", "task3", "--public", "0.8"
    )
    assert "--public 87.31 is out of range" in add("main", "--task", "task1", "--public", "87.31")
    assert "--private nan is out of range" in add("main", "--task", "task1", "--private", "nan")
    assert "There is no score to record" in add("main", "--task", "task1")
    assert space.leaderboard.read_bytes() == before


def test_an_empty_or_a_broken_log_says_so(space: Workspace) -> None:
    space.leaderboard.write_bytes(b"time,submission\n\xff\xfe,main\n")
    assert "is not a readable CSV file" in refused("leaderboard", "-w", space.root)
    shutil.rmtree(space.submissions)
    result = comp("leaderboard", "-w", space.root)
    assert result.exit_code == 0
    assert "No submission yet" in result.output
    assert "the log is empty" in refused(
        "leaderboard", "add", "main", "--public", "0.5", "-w", space.root
    )


def test_what_people_and_spreadsheets_put_there_stays(space: Workspace) -> None:
    log = pd.read_csv(space.leaderboard, dtype=str, keep_default_na=False)
    log.insert(2, "note", ["deeper; trees", "", 'say "7"', ""])
    log.loc[0, "out_of_fold"] = "0,850000"  # of a spreadsheet that writes commas
    own = pd.DataFrame([{"note": "a line of mine"}]).reindex(columns=log.columns, fill_value="")
    log = pd.concat([log, own], ignore_index=True)
    log.to_csv(space.leaderboard, index=False, sep=";", encoding="utf-8-sig", lineterminator="\r\n")
    before = space.leaderboard.read_bytes()
    result = comp(
        "leaderboard", "add", "main", "--task", "task2", "--public", "0.5", "-w", space.root
    )
    assert result.exit_code == 0, result.stderr
    leaderboard.append_lines(space, LINES[:1])
    content = space.leaderboard.read_bytes()
    assert content.startswith(b"\xef\xbb\xbftime;submission;note;")
    assert content.count(b"\r\n") == content.count(b"\n")
    new = pd.read_csv(
        space.leaderboard, dtype=str, keep_default_na=False, sep=";", encoding="utf-8-sig"
    )
    assert len(new) == len(log) + 1
    assert new.loc[1, "public"] == "0.5"
    new.loc[1, "public"] = ""
    pd.testing.assert_frame_equal(new.iloc[:-1], log)
    assert leaderboard.read_log(space)["out_of_fold"].iloc[0] == "0.850000"
    assert len(leaderboard.read_log(space)) == 5  # without the line of nobody's submission
    assert before != content


def test_a_score_that_is_no_number_and_a_file_that_is_no_log_are_refused(space: Workspace) -> None:
    log = pd.read_csv(space.leaderboard, dtype=str, keep_default_na=False)
    log.assign(public=["", "soon", "", ""]).to_csv(space.leaderboard, index=False)
    assert "row 2 has the public 'soon', which is not a number" in refused(
        "leaderboard", "-w", space.root
    )
    log.drop(columns="submission").to_csv(space.leaderboard, index=False)
    before = space.leaderboard.read_bytes()
    assert "lacks the column 'submission'" in refused(
        "leaderboard", "add", "main", "--public", "0.5", "-w", space.root
    )
    assert space.leaderboard.read_bytes() == before
