"""Help texts: every command gives examples, and each of them works as it stands."""

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import typer
from typer.testing import CliRunner

from competition.cli import app
from competition.cli.output import GLOBAL_OPTIONS
from competition.config.ablation_tables import TABLES
from competition.config.search_space import SPACES
from competition.core.workspace import Workspace
from tests.conftest import comp
from tests.data.test_esci import tiny, write_a

# Where no rows must be there yet, or others take their place.
FRESH = ("init", "data import ", "data sample", "data synth")
# What fits many models is run up to the first of them, what needs a model up to its check; that all
# of it works is tested where the command is.
LONG = (
    "pretrain",
    "ablate",
    "tune",
    "curve",
    "stack",
    "audit-leaks blend",
    "train --recipe r1 --fold 2 --dry-run",
    "train --recipe t3 --all",
    "train --recipe c1 --set",
    "distill",
    "export",
    "predict new.csv --from model",
    "serve",
    "push",
    "report --out",  # what it draws, it draws without a name of its own, too
)
FITS = (
    "competition.analysis.trainings.execute",  # before the next one, or it would be imported so
    "competition.analysis.trainings.execute_jobs",
    "competition.pipeline.execute.execute",
    "competition.analysis.leakage.permutation_test",
    "competition.analysis.cost.benchmark_steps",
    "competition.pipeline.exporting.export.choose",
    "competition.models.exported.folder.check_files",
    "competition.pipeline.folder_scorer.check_files",
    "competition.analysis.report.page.render_report",
)
# What commands need beside the package's own dependencies.
EXTRAS = {"serve": ("fastapi", "uvicorn"), "tune": ("optuna",)}


class Reached(Exception):
    """The first model is about to be fitted, or checked."""


def reach(*_: object) -> None:
    raise Reached


def commands(group: typer.core.TyperGroup, before: str = "") -> Iterator[tuple[str, str]]:
    """Each command with the end of its help."""
    for name, command in group.commands.items():
        yield f"{before}{name}", command.epilog or ""
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")


COMMANDS = dict(commands(typer.main.get_command(app)))  # type: ignore[arg-type]
EXAMPLES = [
    line.strip()
    for text in COMMANDS.values()
    for line in text.splitlines()
    if line.startswith("  ")
]


@pytest.fixture(scope="module")
def done(finished: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished workspace that examples may change."""
    folder = Path(shutil.copytree(finished.root, tmp_path_factory.mktemp("examples") / "done"))
    for part in ("machine-1", "machine-2"):  # of `comp merge`
        shutil.copytree(finished.root, folder / part)
    new = pd.DataFrame(
        {"query": ["red shoe", "usb cable"], "product_title": ["Red running shoe", "Lamp"]}
    )
    new.to_csv(folder / "new.csv", index=False)
    named = {"query": "search", "product_title": "name"}
    new.rename(columns=named).to_csv(folder / "log.csv", index=False)
    new.to_parquet(folder / "new.parquet", index=False)
    new.to_csv(folder / "more-pairs.csv", index=False)

    outputs = pd.concat(
        pd.read_parquet(path)
        for path in sorted((folder / "oof" / "lexical").glob("fold-?.parquet"))
    )
    test = pd.read_parquet(folder / "oof" / "lexical" / "test-0.parquet")
    theirs = pd.concat([outputs, test])
    score = theirs[["example_id"]].assign(score=theirs["p_exact"])
    score.to_parquet(folder / "ranked.parquet", index=False)
    assert comp("member", "export", "lexical", folder / "theirs.csv", "-w", folder).exit_code == 0
    add = ("member", "add", "theirs", folder / "theirs.csv", "--kind", "classes", "-w", folder)
    assert comp(*add).exit_code == 0
    shutil.copy(TABLES / "losses.toml", folder / "mine.toml")
    shutil.copy(SPACES / "encoder.toml", folder / "space.toml")
    (folder / "model").mkdir()  # an exported folder, as far as its name says
    (folder / "model" / "competition.json").write_text("{}", encoding="utf-8")
    return folder


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A workspace without rows, and real files beside it."""
    (tmp_path / "competition.toml").write_text("", encoding="utf-8")
    write_a(tmp_path / "esci-data", *tiny())
    graded = {
        "search": ["cup", "cup", "lamp"],
        "name": ["A cup", "Tea", "Lamp"],
        "grade": [3, 1, 2],
    }
    pd.DataFrame(graded).to_csv(tmp_path / "judgments.csv", index=False)
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_gives_examples_of_its_command(command: str) -> None:
    output = comp(*command.split(), "--help").output
    examples = [line for line in COMMANDS[command].splitlines() if line.startswith("  ")]
    assert examples
    assert all(f"comp {command}" in line and line.strip() in output for line in examples)
    assert GLOBAL_OPTIONS in " ".join(output.split())


def test_the_list_of_commands_cuts_no_sentence_off() -> None:
    assert "..." not in comp("--help").output.partition("Commands:")[2]


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_works(
    example: str, done: Path, fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, *arguments = shlex.split(example)
    assert name == "comp"
    for package in EXTRAS.get(arguments[0], ()):
        pytest.importorskip(package, reason="its extra is not installed")
    command = " ".join(arguments)
    monkeypatch.chdir(fresh if f"{command} ".startswith(FRESH) else done)
    if "judgments.csv" in command:
        (fresh / "competition.toml").write_text('competition = "ratings"', encoding="utf-8")
    if command.startswith(LONG):
        for fit in FITS:
            monkeypatch.setattr(fit, reach)
        assert isinstance(comp(*arguments, "--debug").exception, Reached)
    else:
        result = comp(*arguments)
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("typed", "completions"),
    [
        ("comp tra", {"train"}),
        ("comp train --re", {"--recipe"}),
        ("comp train --recipe c", {"c1", "c2", "c3"}),
        ("comp score x.csv --task ", {"task1", "task2", "task3"}),
        ("comp leaderboard ", {"add"}),
    ],
)
def test_a_shell_completes_commands_options_recipes_and_tasks(
    typed: str, completions: set[str]
) -> None:
    env = {
        "_COMP_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(typed.split(" ")) - 1),
    }
    result = CliRunner().invoke(app, [], prog_name="comp", env=env)
    assert set(result.stdout.split()) == completions
