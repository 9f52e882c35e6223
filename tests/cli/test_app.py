"""How commands begin and end."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from competition.cli import app as _app  # noqa: F401 - registers the commands
from competition.core.json_files import write_json
from competition.core.workspace import Workspace
from competition.data import store
from tests.conftest import comp, make_workspace, refused

COMMANDS = [
    "init", "recipes", "data", "folds", "pretrain", "train", "cleanlab", "stack", "submit", "leaderboard", "check",
    "score", "run", "status", "doctor", "tune", "clean",
]  # fmt: skip


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from competition.cli import app;"
        "result = CliRunner().invoke(app, ['--help']); print(result.output);"
        "heavy = {'torch', 'transformers', 'accelerate', 'sklearn', 'lightgbm', 'cleanlab', 'pandas', 'numpy',"
        "'optuna', 'ray'};"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert "HEAVY []" in output
    assert all(f" {command} " in output for command in COMMANDS)


def test_the_plan_is_made_without_tables_and_models() -> None:
    code = (
        "import sys; import competition.pipeline.steps;"
        "heavy = {'torch', 'sklearn', 'lightgbm', 'scipy', 'pandas', 'competition.training.finetune'};"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert "HEAVY []" in output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    assert comp(command, "--help").exit_code == 0


def test_init_makes_a_workspace_once(tmp_path: Path) -> None:
    folder = tmp_path / "w"
    assert comp("init", folder).exit_code == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "competition.toml", "data", "folds", "models", "oof", "reports", "submissions",
    ]  # fmt: skip
    assert "is a workspace already" in refused("init", folder)
    (tmp_path / "file").write_text("")
    assert "is a file" in refused("init", tmp_path / "file")


def test_a_folder_that_is_no_workspace_is_named(tmp_path: Path) -> None:
    for command in (
        ["run"],
        ["status"],
        ["folds"],
        ["data"],
        ["train"],
        ["stack", "blend"],
        ["submit"],
    ):
        assert "is not a workspace, it has no competition.toml" in refused(*command, "-w", tmp_path)


def test_a_workspace_without_data_says_how_to_bring_some(tmp_path: Path) -> None:
    comp("init", tmp_path / "w")
    for command in ("run", "status", "folds", "data", "train"):
        sentence = refused(command, "-w", tmp_path / "w")
        assert (
            f"has no data: bring real rows with `comp data import PATH -w {tmp_path / 'w'}`"
            in sentence
        )


def test_data_synth_and_describe(tmp_path: Path) -> None:
    comp("init", tmp_path / "w")
    result = comp("data", "synth", "--queries", "60", "-w", tmp_path / "w")
    assert result.exit_code == 0
    assert "wrong on purpose" in result.output
    assert "out of date" not in result.output
    write_json(
        Workspace(tmp_path / "w").run_card("c1"), {"data": {"train": "others", "test": "others"}}
    )
    again = comp("data", "synth", "--queries", "60", "--seed", "1", "-w", tmp_path / "w").output
    assert (
        f"Out of date, because they were trained on other rows: c1. `comp run -w {tmp_path / 'w'}` rebuilds"
        in again
    )
    described = comp("data", "-w", tmp_path / "w")
    assert described.exit_code == 0
    for words in (
        "rows",
        "queries",
        "locale jp",
        "label complement",
        "products without brand",
        "also test queries",
    ):
        assert words in described.output


def test_usage_errors_exit_with_two() -> None:
    assert comp("train", "--no-such-option").exit_code == 2
    assert comp("no-such-command").exit_code == 2
    assert comp("check", "file.csv").exit_code == 2


def test_a_traceback_is_shown_only_with_debug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = make_workspace(tmp_path / "w")

    def broken(*_: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr(store, "load_examples", broken)
    without_debug = comp("data", "-w", workspace.root)
    assert without_debug.exit_code == 1
    assert isinstance(without_debug.exception, SystemExit)
    assert "unexpected RuntimeError: out of luck" in without_debug.stderr
    for arguments in (["--debug", "data"], ["data", "--debug"]):
        with_debug = comp(*arguments, "-w", workspace.root)
        assert isinstance(with_debug.exception, RuntimeError)


def test_what_this_user_may_not_do_is_named_with_its_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert comp("init", tmp_path / "w").exit_code == 0
    for number in (errno.EACCES, errno.EROFS):
        failure = OSError(number, os.strerror(number), str(tmp_path / "w" / ".locks"))

        def forbid(*_: object, failure: OSError = failure) -> NoReturn:
            raise failure

        monkeypatch.setattr(Workspace, "open", forbid)
        result = comp("status", "-w", tmp_path / "w")
        assert result.exit_code == 1
        assert result.stderr == (
            f"error: {os.strerror(number)}: {tmp_path / 'w' / '.locks'}; let this user read and write there, "
            "or work in a copy of the folder.\n"
        )


def test_an_incomplete_run_is_refused_by_what_needs_it(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w")
    members = [f"train --recipe {name}" for name in ("lexical", "c1", "r2", "t3")]
    commands = {
        "cleanlab": ["train --recipe c1"],
        "stack blend": members,
        "submit": [*members, "stack blend"],
        "train --recipe r2": ["train --recipe c1"],
    }
    for command, needed in commands.items():
        result = comp(*command.split(), "-w", workspace.root)
        assert result.exit_code == 1, result.output
        line = " && ".join(f"comp {each} -w {workspace.root}" for each in needed)
        assert f"`{line}` builds them." in " ".join(result.stderr.split())
        assert "steps are missing or out of date, the first is " in " ".join(result.stderr.split())
    assert not list((workspace.root / "submissions").glob("*/*.csv"))


def test_help_texts_lose_no_words() -> None:
    for command in COMMANDS:
        output = comp(command, "--help").output
        assert ";  unless" not in output
        assert "; unless" not in " ".join(output.split())


def test_imported_rows_are_not_replaced_by_made_ones(tmp_path: Path) -> None:
    workspace = make_workspace(
        tmp_path / "w"
    )  # its data come from elsewhere than `comp data synth`
    before = workspace.examples.read_bytes()
    sentence = refused("data", "synth", "-w", workspace.root)
    assert "has imported rows (test)" in sentence
    assert workspace.examples.read_bytes() == before


def test_the_settings_of_a_new_workspace_fit_100_columns(tmp_path: Path) -> None:
    lines = comp("init", tmp_path / "w").output.splitlines()
    table = [line for line in lines if "│" in line]  # the other lines hold the path
    assert len(table) > 5
    assert max(map(len, table)) <= 100


def test_the_workspace_may_be_named_before_the_subcommand(tmp_path: Path) -> None:
    comp("init", tmp_path / "w")
    assert comp("data", "-w", tmp_path / "w", "synth", "--queries", "60").exit_code == 0
    assert (tmp_path / "w" / "data" / "examples.parquet").is_file()


def test_names_in_the_settings_are_checked(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "w")
    for line, words in {
        'recipes = ["lexcal"]': (
            "recipes names the unknown recipe 'lexcal'",
            "did you mean 'lexical'",
        ),
        'default_recipe = "c9"': ("default_recipe names the unknown recipe 'c9'",),
        '[submission]\ntask1 = "blnd"': (
            "[submission] names the unknown recipe 'blnd'",
            "did you mean 'blend'",
        ),
        '[overrides]\nencoder = "/no/where"': (
            "The encoder '/no/where' of the recipe 'c1' is not a folder",
        ),
    }.items():
        workspace.settings_file.write_text(line)
        sentence = refused("status", "-w", workspace.root)
        assert all(word in sentence for word in words), sentence
