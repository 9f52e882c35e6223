"""What commands print: tables for people, one document for machines, silence where it is asked for."""

import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from competition.cli import output
from competition.cli.output import OutputCell, finish_output, show_table, start_output
from competition.core.commands import command_for, pasteable, set_workspace
from competition.core.console import results
from competition.core.json_files import read_json
from competition.core.workspace import Workspace
from competition.scoring.intervals import Estimate
from tests.conftest import comp


def document(*arguments: str | Path, exit_code: int = 0) -> dict[str, Any]:
    """What a command says to machines: nothing but one JSON document on stdout."""
    result = comp(*arguments, "--json")
    assert result.exit_code == exit_code, result.output
    content: dict[str, Any] = json.loads(result.stdout)
    assert set(content) == {"command", "exit_code", "error", "tables"}
    assert content["exit_code"] == exit_code
    assert all(set(table) == {"title", "about", "rows"} for table in content["tables"])
    return content


def test_cells_are_values_for_machines_and_text_for_people(
    capsys: pytest.CaptureFixture[str],
) -> None:
    estimate = Estimate(0.5, 0.25, 0.75, 8)
    row = [
        "c1",
        np.int64(4512),
        np.float64(0.5),
        None,
        float("nan"),
        True,
        OutputCell(estimate, "+"),
        OutputCell("done", text="■"),
    ]
    header = {key: key.upper() for key in "abcdefgh"}
    start_output(quiet=False, as_json=True)
    show_table("Title", header, [row], task="task1")
    finish_output("test")
    (table,) = json.loads(capsys.readouterr().out)["tables"]
    value = {"value": 0.5, "low": 0.25, "high": 0.75, "queries": 8}
    assert table["rows"] == [
        dict(zip(header, ["c1", 4512, 0.5, None, None, True, value, "done"], strict=True))
    ]
    assert table["title"] == "Title"
    assert table["about"] == {"task": "task1"}
    start_output(quiet=False, as_json=False)
    show_table("Title", header, [row])
    finish_output("test")
    output = capsys.readouterr().out
    assert all(
        text in output for text in ("4,512", "0.5000", "yes", "+0.5000 [+0.2500, +0.7500]", "■")
    )
    start_output(quiet=False, as_json=False)
    show_table("Title", header | {"a": None, "c": None}, [row])  # machines alone are told
    finish_output("test")
    narrow = capsys.readouterr().out
    assert "B" in narrow
    assert "4,512" in narrow
    assert "c1" not in narrow
    assert "A" not in narrow
    assert "nan" not in output
    assert "None" not in output
    assert "\x1b" not in output


def test_a_document_says_what_the_table_says(finished: Workspace) -> None:
    file = finished.submission("main") / "task2.csv"
    recorded = document("score", file, "--task", "task2", "-w", finished.root)
    (table,) = recorded["tables"]
    assert recorded["command"] == "score"
    assert recorded["error"] is None
    assert table["about"]["task"] == "task2"
    assert table["about"]["protocol"] == "paper"
    first = table["rows"][0]
    output = comp("score", file, "--task", "task2", "-w", finished.root).output
    low, high = first["interval"]
    assert f"{first['score']:.6f}" in output
    assert f"[{low:.4f}, {high:.4f}]" in output


def test_scores_for_machines_are_those_of_the_files(finished: Workspace) -> None:
    table = pd.read_csv(finished.scores)
    tables = document("run", "-w", finished.root)["tables"]
    tables, verdict, _ = tables[:-2], *tables[-2:]
    assert [row["task"] for row in verdict["rows"]] == ["task1", "task2", "task3"]
    assert sum(len(each["rows"]) for each in tables) == len(table)
    for each in tables:
        about = each["about"]
        for row in each["rows"]:
            of_table = (table["task"] == about["task"]) & (table["split"] == about["split"])
            line = table[
                of_table & (table["group"] == about["group"]) & (table["run"] == row["run"])
            ].iloc[0]
            assert row["score"]["value"] == line["score"]
            assert row["score"]["queries"] == line["queries"]
            assert (row["above_floor"] or {}).get("value") == (
                None if np.isnan(line["above_floor"]) else line["above_floor"]
            )


def test_held_out_scores_for_machines(finished: Workspace) -> None:
    (table,) = document("train", "--recipe", "c1", "-w", finished.root)["tables"]
    recorded = read_json(finished.run_card("c1"))["scores"]
    assert table["about"] == {"recipe": "c1", "folds": [0, 1, 2, 3, 4]}
    for row in table["rows"]:
        assert row["score"] == recorded[row["task"]][row["metric"]][row["group"]]


def test_check_and_stack_for_machines(finished: Workspace) -> None:
    file = finished.submission("main") / "task3.csv"
    (table,) = document("check", file, "--task", "task3", "-w", finished.root)["tables"]
    assert table["rows"] == [{"file": str(file), "task": "task3", "rows": len(pd.read_csv(file))}]
    tables = document("stack", "blend", "--only", "-w", finished.root)["tables"]
    weights = tables[-3]["rows"][0]  # before the verdict and the diagnoses
    assert weights["run"] == "blend-task1"
    assert weights["what"] == "weights"
    assert sum(weights["mean"].values()) == pytest.approx(1)


def test_an_error_is_a_document_too(finished: Workspace) -> None:
    recorded = document("score", "no.csv", "--task", "task1", "-w", finished.root, exit_code=2)
    assert recorded["error"] == "no.csv is missing."
    assert recorded["tables"] == []


def test_options_of_all_commands_stand_anywhere(finished: Workspace) -> None:
    one = comp("--json", "status", "-w", finished.root)
    other = comp("status", "-w", finished.root, "--json")
    assert one.stdout == other.stdout
    assert json.loads(one.stdout)


def test_quiet_shows_results_alone(finished: Workspace) -> None:
    normal = comp("train", "--fold", "0", "-w", finished.root)
    quiet_output = comp("train", "--fold", "0", "--quiet", "-w", finished.root)
    assert "nothing to do" in normal.output
    assert "nothing to do" not in quiet_output.output
    assert quiet_output.output.startswith("c1 on held-out rows")
    assert (
        "nothing to do" in comp("train", "--fold", "0", "-w", finished.root).output
    )  # it lasts for one command
    wrong = comp("train", "--fold", "9", "--quiet", "-w", finished.root)
    assert wrong.exit_code == 2
    assert "error: Fold 9 does not exist" in wrong.stderr


def test_the_board_shows_every_fold(finished: Workspace, tmp_path: Path) -> None:
    board, others, *_ = document("status", "-w", finished.root)["tables"]
    rows = {row["run"]: row for row in board["rows"]}
    assert list(rows) == ["lexical", "c1", "r2", "t3", "blend-task1", "blend-task2", "blend-task3"]
    assert all(rows["c1"][key] == "done" for key in ("fold_0", "fold_4", "test", "whole", "audit"))
    assert rows["blend-task1"]["whole"] == "done"
    assert rows["blend-task1"]["fold_0"] is None
    assert others["about"]["missing"] == 0
    assert others["about"]["next"] is None


def test_the_board_shows_what_is_missing_and_out_of_date(
    finished: Workspace, tmp_path: Path
) -> None:
    import shutil

    root = tmp_path / "w"
    shutil.copytree(finished.root, root)
    space = Workspace.open(root)
    space.oof_fold("t3", 2).unlink()
    space.settings_file.write_text(
        space.settings_file.read_text() + 'mixup = 0.1\n[submission]\ntask1 = "lexical"\n'
    )
    board, others, *_ = document("status", "-w", root)["tables"]
    rows = {row["run"]: row for row in board["rows"]}
    assert rows["lexical"]["fold_0"] == "done"
    assert rows["c1"]["fold_0"] == "stale"
    assert rows["t3"]["fold_1"] == "stale"
    assert rows["t3"]["fold_2"] == "missing"
    assert others["about"]["next"] == "comp run"
    assert others["about"]["missing"] > 0
    output = comp("status", "-w", root).output
    assert "▲ out of date   · missing" in output
    (following,) = [line for line in output.splitlines() if line.startswith("Next: ")]
    assert "comp run" in following


def test_any_encoding_of_stdout_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding, words in (
        ("ascii", b"# . + \\u65e5"),
        ("cp1252", b"# \xb7 + \\u65e5"),
        ("cp437", "■ · + \\u65e5".encode("cp437")),
        ("utf-8", "■ · ◧ 日".encode()),
    ):
        stream = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(stream, encoding=encoding))
        start_output(quiet=False, as_json=False)
        show_table("Runs", ["state"], [["■ · ◧ 日"]])
        sys.stdout.flush()
        assert words in stream.getvalue()


@pytest.mark.parametrize("title", ["Runs", ""])
def test_a_table_that_fits_is_as_wide_as_rich_would_make_it(
    title: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [["six-model", 0.5, "■■", None], ["日本語 c1", -12.25, "", "to the end"]]
    printed = []
    for between in (output._BETWEEN, 10_000):  # by our widths, and by those that Rich measures
        stream = io.StringIO()
        monkeypatch.setattr(output, "_BETWEEN", between)
        monkeypatch.setattr(results, "_width", 80)
        monkeypatch.setattr(results, "_file", stream)
        show_table(title, ["run", "score", "folds", "about"], rows, left=1)
        printed.append(stream.getvalue())
    assert printed[0] == printed[1]
    assert "日本語 c1" in printed[0]


def test_a_terminal_that_is_too_narrow_for_words_gets_lines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for width, expected_lines in (
        (
            40,
            [
                "Runs",
                "run: six-model-task1",
                "  score: 0.5000",
                "  command: comp train --recipe lexical -w 'my work'",
            ],
        ),
        (100, ["Runs", "run", "━", "six-model-task1"]),
    ):
        stream = io.StringIO()
        monkeypatch.setattr(results, "_width", width)
        monkeypatch.setattr(results, "_file", stream)
        command = "comp train --recipe lexical -w 'my work'"
        show_table(
            "Runs", ["run", "score", "empty", "command"], [["six-model-task1", 0.5, None, command]]
        )
        lines = stream.getvalue().splitlines()
        assert [
            line[: len(start)] for line, start in zip(lines, expected_lines, strict=True)
        ] == expected_lines


def test_commands_name_the_workspace_and_can_be_pasted() -> None:
    set_workspace(Path("my work"))
    assert command_for("comp run") == "comp run -w 'my work'"
    assert pasteable("Missing: `comp train` makes it, `comp init x` not.") == (
        "Missing: `comp train -w 'my work'` makes it, `comp init x` not."
    )
    assert pasteable("`comp train && comp run` builds them.") == (
        "`comp train -w 'my work' && comp run -w 'my work'` builds them."
    )
    sentence = "Process 1 on a (`comp run`, since noon) is at work."
    assert pasteable(sentence) == sentence
    set_workspace(Path())
    assert command_for("comp run") == "comp run"
    assert pasteable("`comp run` helps.") == "`comp run` helps."


def test_ctrl_c_before_there_is_a_handler_ends_quietly() -> None:
    ask = (
        "import sys; sys.modules.pop('signal', None)\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'signal': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Finder())\n"
        "from competition.__main__ import main; main()"
    )
    ended = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_it_is_being_imported_ends_quietly(
    number: signal.Signals, code: int
) -> None:
    ask = (
        "import os, sys, signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell may ignore it
        "from competition.__main__ import main\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == 'competition.cli': os.kill(os.getpid(), {int(number)})\n"
        "sys.meta_path.insert(0, Finder()); main()"
    )
    ended = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "", "")
