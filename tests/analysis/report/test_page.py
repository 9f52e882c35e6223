"""The page says what the files say, says what is missing, and cannot be broken by what strangers wrote."""

import re
import shutil
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from competition.analysis.diagnoses.diagnosis import Diagnosis, TaskVerdict, Verdict
from competition.analysis.diagnoses.judge import judge
from competition.analysis.report.ablations import ablations
from competition.analysis.report.blocks import Note, Table
from competition.analysis.report.breakdown import breakdown
from competition.analysis.report.cards import cards
from competition.analysis.report.effects import members
from competition.analysis.report.evidence import Evidence
from competition.analysis.report.page import render_report
from competition.analysis.report.reliability import confusion_matrix, ranked
from competition.analysis.report.run_answers import expectation
from competition.analysis.report.worst_queries import worst_queries
from competition.core.json_files import read_json
from competition.core.workspace import Workspace
from competition.data import store, synthetic
from competition.pipeline.execute import execute, in_order
from competition.pipeline.steps import Pipeline
from competition.scoring.answers import answers
from competition.scoring.evaluation import MOVABLE
from competition.scoring.intervals import Estimate
from tests.analysis.report.conftest import report_of
from tests.analysis.report.made import Sections
from tests.conftest import LEXICAL_ALONE, QUICK, comp, make_workspace, refused
from tests.esci import CONTEST, LABELS, LOCALES, TASKS

SCORED = {
    "leaderboard",
    "effects",
    "ensembles",
    "differences",
    "disagreement",
    "breakdown",
    "worst",
    "confusion",
    "marks",
    "tests",
    "calibration",
}
TOLD = {"diagnoses", "ablations", "audit", "submissions", "learning", "costs", "data"}


@pytest.fixture(scope="module")
def sections(finished_page: Path) -> Sections:
    return Sections(finished_page.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def evidence(finished: Workspace) -> Evidence:
    return Evidence(Pipeline(finished))


def run_of(row: list[str]) -> str:
    """The run of a row whose heading may carry marks."""
    return row[0].split()[0]


def said(line: pd.Series, name: str, sign: str = "") -> str:
    """An estimate of a line of scores.csv as the page writes it."""
    value, low, high = (line[f"{name}{end}"] for end in ("", "_low", "_high"))
    if pd.isna(value):
        return ""
    return (
        f"{value:{sign}.4f} –"
        if pd.isna(low)
        else f"{value:{sign}.4f} [{low:{sign}.4f}, {high:{sign}.4f}]"
    )


def test_every_section_is_there(sections: Sections) -> None:
    assert set(sections.words) == SCORED | TOLD  # and nothing is missing


def test_the_leaderboard_says_what_scores_csv_says(
    finished: Workspace, sections: Sections, evidence: Evidence
) -> None:
    scores = pd.read_csv(finished.scores)
    told = {
        (task.name, group) for task in evidence.tasks for group in ("all", evidence.group(task))
    }
    graded = scores[scores["split"] == "out-of-fold"]
    tested = scores[scores["split"] == "test"].set_index(["task", "group", "run"])
    rows = [
        [run_of(row), *row[1:]] for table in sections.tables["leaderboard"] for row in table[1:]
    ]
    expected = []
    for key, lines in graded.groupby(["task", "group"], sort=False):
        if key not in told:
            continue
        for _, line in lines.sort_values("score", ascending=False, kind="stable").iterrows():
            cells = [
                line["run"],
                said(line, "score"),
                said(line, "above_baseline", "+"),
                said(line, "above_floor", "+"),
            ]
            # Where every test list can move, there are no lines of those that can.
            on_test = (*key, line["run"])
            on_test = on_test if on_test in tested.index else (key[0], "all", line["run"])
            expected.append([*cells, said(tested.loc[on_test], "score")])
    assert sorted(rows) == sorted(expected)


def test_cards_say_the_verdict_and_mark_what_is_submitted(
    finished: Workspace, finished_page: Path, sections: Sections
) -> None:
    verdict = judge(Pipeline(finished))
    page = " ".join(unescape(finished_page.read_text(encoding="utf-8")).split())
    for each in verdict.tasks:
        assert each.sentence.removeprefix(f"{each.task}: ") in page
    for found in verdict.diagnoses:
        assert f"Rule {found.code} of docs/diagnoses.md" in sections.words["diagnoses"]

    marked = {
        row[0] for table in sections.tables["leaderboard"] for row in table if "submitted" in row[0]
    }
    assert {name.split()[0] for name in marked} == {f"blend-{task}" for task in TASKS}
    assert f"<h1>{finished.root.name}</h1>" in page


def test_a_made_verdict_is_drawn_gravest_first(evidence: Evidence, finished: Workspace) -> None:
    grave = Diagnosis("made-up", "problem", "task2", "A <b>fault</b>.", "By `comp x`.", "Mend it.")
    slight = Diagnosis("slight", "note", "task1", "A remark.", "By eye.", "")
    task1 = TaskVerdict("task1", "out-of-fold", "all", "c1", ("lexical",), "", "c1 leads.")
    task2 = TaskVerdict("task2", "test", "all", "lexical", (), "blend-task2", "It lags.")
    verdict = Verdict((task1, task2), (grave, slight), "run `comp pretrain`")

    one, two = cards(evidence, verdict)
    board = pd.read_csv(finished.scores).set_index(["task", "split", "group", "run"])["score"]
    assert (one.run, one.severity, one.marks) == ("c1", "note", ())
    assert one.score is not None
    assert np.isclose(one.score.value, board["task1", "out-of-fold", "all", "c1"])
    assert (two.run, two.severity) == ("blend-task2", "problem")
    assert two.score is not None
    assert np.isclose(two.score.value, board["task2", "test", "all", "blend-task2"])

    page = render_report(Pipeline(finished), verdict)
    assert page.index("A &lt;b&gt;fault&lt;/b&gt;.") < page.index("A remark.")
    assert "<b>Next:</b> run <code>comp pretrain</code>" in page
    assert 'class="card problem"' in page


def test_what_a_member_adds_is_the_ensemble_minus_the_one_without_it(
    finished: Workspace, tmp_path: Path
) -> None:
    workspace = Workspace(shutil.copytree(finished.root, tmp_path / "w"))
    before = members(Evidence(Pipeline(workspace)))
    assert "comp stack blend --leave-out --only" in str(before.blocks)

    pipeline = Pipeline(workspace)
    execute(workspace, in_order(pipeline.ensemble_steps("blend.without-c1", ["task2"])))
    table = members(Evidence(pipeline)).blocks[0]
    assert isinstance(table, Table)
    shown = {(row[0].text, row[1].text): row[3].text for row in table.rows}

    cards = [workspace.run_card(run) for run in ("blend-task2", "blend.without-c1-task2")]
    whole, without = (read_json(card)["scores"]["task2"]["micro-F1"]["all"] for card in cards)
    added = whole["value"] - without["value"]
    assert shown["blend-task2", "c1"] == f"{added:+.4f}"
    assert shown["blend-task2", "lexical"] == ""  # nobody left it out


def test_ablations_are_shown_with_their_age(finished: Workspace, tmp_path: Path) -> None:
    workspace = Workspace(shutil.copytree(finished.root, tmp_path / "w"))
    result = comp("ablate", "noise", "--recipe", "lexical", "--fold", "0", "-w", workspace.root)
    assert result.exit_code == 0, result.output
    table = ablations(Evidence(Pipeline(workspace))).blocks[0]
    assert isinstance(table, Table)
    lines = pd.read_csv(workspace.ablation("noise-lexical", 0))
    of_task = lines[lines["task"] == lines["task"].iloc[0]]
    assert [row[0].text for row in table.rows] == list(of_task["row"])
    assert [row[1].text for row in table.rows] == [f"{score:.4f}" for score in of_task["score"]]

    # Without its runs, nobody knows whether the table is what would be made now.
    for run in workspace.oof.glob("ablate-*"):
        shutil.rmtree(run)
    note = ablations(Evidence(Pipeline(workspace))).blocks[0]
    assert isinstance(note, Note)
    assert note.command == "comp ablate noise --recipe lexical --fold 0"


def test_test_scores_are_those_of_comp_score(finished: Workspace, sections: Sections) -> None:
    for task in TASKS:
        result = comp(
            "score",
            finished.submission("main") / f"{task}.csv",
            "--task",
            task,
            "-w",
            finished.root,
        )
        (line,) = [
            each
            for each in result.output.splitlines()
            if re.search(r"(nDCG|micro-F1) .*\ball\b", each)
        ]
        score = float(re.search(r"0\.\d{6}|1\.0{6}", line)[0])  # type: ignore[index]
        rows = [
            row
            for table in sections.tables["leaderboard"]
            for row in table
            if run_of(row) == f"blend-{task}"
        ]
        assert f"{score:.4f}" in [row[-1].split()[0] for row in rows]


def test_differences_are_antisymmetric_and_agree_with_those_to_the_floor(
    finished: Workspace, sections: Sections
) -> None:
    scores = pd.read_csv(finished.scores)
    task2 = scores[(scores["task"] == "task2") & (scores["split"] == "out-of-fold")].set_index(
        "run"
    )
    (matrix,) = [
        table
        for table in sections.tables["differences"]
        if "c1" in table[0] and "t3" not in table[0]
    ][-1:]
    names = matrix[0][1:]
    cell = {
        (row[0], name): text
        for row in matrix[1:]
        for name, text in zip(names, row[1:], strict=True)
    }
    for name in set(names) - {"lexical"}:
        wanted = said(task2.loc[name], "above_floor", "+")
        assert cell[name, "lexical"].replace(" ", "") == wanted.replace(" ", "")
        there, back = (
            float(cell[pair].split("[")[0]) for pair in ((name, "lexical"), ("lexical", name))
        )
        assert there == -back


def test_parts_of_queries_score_as_the_run_says(finished: Workspace, evidence: Evidence) -> None:
    for task in evidence.tasks:
        table = breakdown(evidence, [task])
        for run, lines in table[table["by"] == "locale"].groupby("run"):
            card = read_json(finished.run_card(str(run)))["scores"][task.name][task.metric.label]
            for line in lines.to_dict("records"):
                assert line["group"] in LOCALES
                found = Estimate(line["score"], line["low"], line["high"], line["queries"])
                # Lists that score the same in any order are in no group of a ranking.
                assert task.ranks or found.as_json() == card[line["group"]]
        for (run, _), lines in table.groupby(["run", "by"]):
            counts = evidence.counts(task)[str(run)]
            movable = counts.groups.get(MOVABLE, counts.groups["all"])
            assert lines["queries"].sum() == movable.sum()
            if task.ranks:
                mean = np.average(lines["score"], weights=lines["queries"])
                assert np.isclose(mean, counts.values[movable, 0].mean())


def test_what_is_confused_and_expected_adds_up_to_micro_f1(evidence: Evidence) -> None:
    for name in ("task2", "task3"):
        task = TASKS[name]
        scores = evidence.lines(task, "all").set_index("run")["score"]
        for run in evidence.counts(task):
            rows, kind = evidence.outputs(task, run), evidence.plan(run).kind
            given = evidence.answers(task)[run].codes
            assert given is not None
            assert np.array_equal(given, answers(task, kind, rows))
            counts = confusion_matrix(task.truth(rows), given, len(task.classes))
            assert counts.sum() == len(rows)
            assert np.isclose(counts.trace() / len(rows), scores[run])
            if name == "task2":
                _, right = expectation(evidence.graded(task), kind, rows, answers(task, kind, rows))
                assert np.isclose(right.mean(), scores[run])


def test_the_product_that_a_run_ranks_first_is_the_first_of_its_ranking(evidence: Evidence) -> None:
    task = TASKS["task1"]
    for run, shown in evidence.answers(task).items():
        rows = evidence.outputs(task, run)
        best_first = ranked(rows, answers(task, evidence.plan(run).kind, rows))
        first = best_first.groupby("query_id")["product_id"].first()
        assert shown.first is not None
        names = np.sort(rows["product_id"].unique())
        assert names[shown.first].tolist() == first.tolist()


def test_worst_queries_are_in_the_order_of_their_score(
    sections: Sections, evidence: Evidence
) -> None:
    (table,) = sections.tables["worst"]
    scores = [float(row[-1]) for row in table[1:]]
    assert scores == sorted(scores)
    assert scores[0] < 1
    counts = evidence.counts(TASKS["task1"])[evidence.answer(TASKS["task1"])]
    assert f"{counts.values[counts.groups['can move'], 0].min():.4f}" == table[1][-1]


@pytest.mark.parametrize("members", [(), ("theirs",)])
def test_lists_whose_order_says_nothing_are_told(tmp_path: Path, members: tuple[str, ...]) -> None:
    space = make_workspace(tmp_path / "w", settings=LEXICAL_ALONE)
    examples, products, _ = synthetic.make(60, noise=0.05, seed=7)
    of_query = examples.groupby("query_id")["label"].transform("first")
    store.save(space, CONTEST, examples.assign(label=of_query), products, "test")
    run = ("-w", space.root)
    assert comp("train", "--recipe", "lexical", *run).exit_code == 0
    if members:
        file = tmp_path / "theirs.csv"
        assert comp("member", "export", "lexical", file, *run).exit_code == 0
        assert comp("member", "add", "theirs", file, "--kind", "classes", *run).exit_code == 0
        settings = space.root / "competition.toml"
        settings.write_text(settings.read_text().replace('["lexical"]', '["lexical", "theirs"]'))
        assert comp("train", "--recipe", "theirs", *run).exit_code == 0

    sections = Sections(report_of(space, tmp_path / "page.html"))
    assert "the order of no list matters" in sections.words["worst"].lower()
    assert not sections.tables["worst"]
    assert "task1, another product first" not in sections.words["disagreement"]


def test_a_run_that_ranks_perfectly_has_no_worst_query(attacked: Workspace) -> None:
    evidence = Evidence(Pipeline(attacked))
    task = TASKS["task1"]
    run = evidence.answer(task)
    counts = evidence.counts(task)
    counts[run] = replace(counts[run], values=np.ones_like(counts[run].values))
    assert f"{run} ranks all lists" in str(worst_queries(evidence).blocks)


def test_a_run_that_was_not_scored_has_no_date(finished: Workspace, tmp_path: Path) -> None:
    """As a search leaves the recipe that it starts from."""
    space = Workspace(shutil.copytree(finished.root, tmp_path / "w"))
    space.run_card("lexical").unlink()
    assert "newest run" in report_of(space, tmp_path / "page.html")


def test_same_files_same_bytes(finished: Workspace, finished_page: Path, tmp_path: Path) -> None:
    page = report_of(finished, tmp_path / "again.html")
    assert page == finished_page.read_text(encoding="utf-8")
    assert str(finished.root) not in page


def test_public_scores_are_drawn_where_there_are_any(
    evidence: Evidence, finished: Workspace, tmp_path: Path
) -> None:
    from competition.analysis.report.history import submissions

    log = pd.read_csv(finished.leaderboard, dtype=str, keep_default_na=False)
    log = log[log["submission"] == "main"].drop_duplicates("task")  # tests may submit more
    answered = Workspace(tmp_path)
    answered.submissions.mkdir()
    evidence.workspace, kept = answered, evidence.workspace
    try:
        log.to_csv(answered.leaderboard, index=False)
        assert "comp leaderboard add main" in str(submissions(evidence).blocks)
        log.assign(public=["0.8731", "", "0.7"], private=["", "", "0.65"]).to_csv(
            answered.leaderboard, index=False
        )
        figures, table = submissions(evidence).blocks
    finally:
        evidence.workspace = kept
    assert [item.title for item in figures.items] == ["task1, nDCG", "task3, micro-F1"]  # type: ignore[union-attr]
    expected = [float(line) for line in log["out_of_fold"]]
    assert [[cell.text for cell in row[-3:]] for row in table.rows] == [  # type: ignore[union-attr]
        ["0.8731", f"{0.8731 - expected[0]:+.4f}", "–"],
        ["–", "–", "–"],
        ["0.7000", f"{0.7 - expected[2]:+.4f}", "0.6500"],
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", table.rows[0][0].text)  # type: ignore[union-attr]


def test_an_ensemble_that_was_cut_off_before_its_card_is_missing(
    finished: Workspace, tmp_path: Path
) -> None:
    """Its outputs are all there, and what it learned is not, such as behind a full disk."""
    shutil.copytree(finished.root, tmp_path / "w")
    space = Workspace.open(tmp_path / "w")
    space.run_card("blend-task1").unlink()
    missing = Evidence(Pipeline(space)).missing
    assert list(missing) == ["blend-task1"]
    assert "blend-task1 is not complete: `comp stack blend" in missing["blend-task1"]


def test_a_workspace_with_little_in_it_says_what_is_missing(
    attacked: Workspace, tmp_path: Path
) -> None:
    sections = Sections(report_of(attacked, tmp_path / "report.html"))
    for section, command in {
        "differences": "comp run",
        "ensembles": "comp stack blend",
        "audit": "comp cleanlab --from RUN",
        "submissions": "comp submit",
        "learning": "comp train",
    }.items():
        assert command in sections.words[section], section
    assert "comp stack blend" in sections.words["missing"]
    assert len(sections.tables["leaderboard"]) >= 3


def test_one_fold_is_no_run_and_the_page_says_how_to_go_on(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w", settings=QUICK)
    empty = set(Sections(report_of(workspace, tmp_path / "empty.html")).words)
    assert empty - {"diagnoses"} == TOLD - {"diagnoses"} | {"missing"}
    assert comp("train", "--recipe", "lexical", "--fold", "0", "-w", workspace.root).exit_code == 0
    sections = Sections(report_of(workspace, tmp_path / "one.html"))
    assert "comp train --recipe lexical" in sections.words["missing"]
    assert "fold 1 is missing" in sections.words["missing"]
    assert "no data" in refused("report", "-w", no_data(tmp_path))


def no_data(folder: Path) -> Path:
    (folder / "bare").mkdir()
    (folder / "bare" / "competition.toml").write_text(QUICK)
    return folder / "bare"


def test_nothing_that_strangers_wrote_is_markup(attacked: Workspace, tmp_path: Path) -> None:
    page = report_of(attacked, tmp_path / "report.html")
    assert len(re.findall(r"</?script", page, re.IGNORECASE)) == 2  # the page's own
    assert "<img" not in page
    assert "\u202e" not in page
    assert "\x00" not in page
    sections = Sections(page)
    assert {
        name
        for name in sections.attributes
        if name.startswith("on") or name in ("src", "action", "style")
    } == set()
    assert all(link.startswith("#") for link in sections.links)
    assert not re.search(r"url\((?!#)|@import|https?:", page)
    assert "=HYPERLINK(1)" in page
    assert LABELS[0] in page
