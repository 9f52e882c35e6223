"""`comp init`: make a new workspace."""

import json
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE, app
from competition.cli.output import as_toml, help_epilog, show_table
from competition.core.atomic import write_text
from competition.core.commands import command_for
from competition.core.console import console
from competition.core.errors import InputError
from competition.core.workspace import FOLDERS, Workspace

if TYPE_CHECKING:
    from competition.scoring.contest import Contest


@app.command(epilog=help_epilog("comp init work", "comp init shop --competition ratings"))
def init(
    folder: Annotated[
        Path,
        typer.Argument(metavar="[DIR]", help="The folder of the workspace; made if it is missing."),
    ] = HERE,
    competition: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE",
            help="What is predicted and graded: esci, ratings, binary, or a definition of your own, which is "
            "copied into the workspace.",
        ),
    ] = "esci",
) -> None:
    """Make a workspace folder.

    Its `competition.toml` explains every setting in comments. Everything that commands make stays in
    the folder.
    """
    from importlib.resources import files

    from competition.scoring.definition import ESCI, built_in_names, load_contest

    workspace = Workspace(folder)
    if workspace.settings_file.exists():
        raise InputError(
            f"{folder} is a workspace already: name another folder, such as `comp init work`, or remove "
            f"{workspace.settings_file} to start again."
        )
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, but a workspace is a folder: choose another name.")

    contest = load_contest(competition)
    text = files("competition.config").joinpath("competition.toml").read_text(encoding="utf-8")
    for name in FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    if competition in built_in_names():
        text = _for_contest(text, contest, competition)
    else:
        definition = Path(competition).expanduser()
        text = _for_contest(text, contest, definition.name)
        write_text(folder / definition.name, definition.read_text(encoding="utf-8-sig"))
    write_text(workspace.settings_file, text)

    # The file explains each key; sentences beside the values would be wider than a terminal.
    header = {"key": "key", "value": "value", "about": None}
    show_table(str(workspace.settings_file), header, _explained_keys(text), left=3)
    # A line for each command: together they are wider than a terminal.
    console.print(f"Next: {command_for('comp data import PATH', folder)}")
    if competition == ESCI:
        console.print(f"  or: {command_for('comp data sample', folder)}")
    console.print(f"then: {command_for('comp run', folder)}")


def _for_contest(text: str, contest: "Contest", name: str) -> str:
    """Return the settings for a contest that is called `name` in them."""
    from competition.scoring.definition import ESCI

    text = text.replace(f'competition = "{ESCI}"', f"competition = {json.dumps(name)}")
    # Only classes are audited.
    if not contest.labels.are_classes:
        text = text.replace('noise_run = "lexical"', 'noise_run = ""')
    before, _, behind = text.partition("[submission]\n")
    _, _, behind = behind.partition("\n\n")
    answers = "".join(f'{task} = "blend"\n' for task in contest.tasks)
    return f"{before}[submission]\n{answers}\n{behind}"


def _explained_keys(text: str) -> list[list[object]]:
    """Return key, value and the first sentence of the comment above, for each key and table of a TOML file."""
    values = tomllib.loads(text)
    rows: list[list[object]] = []
    comment: list[str] = []

    for line in text.splitlines():
        if line.startswith("#"):
            comment.append(line.removeprefix("#").strip())
            continue
        key = line.partition("=")[0].strip(" []")
        if key in values:
            first_sentence = " ".join(comment).split(". ")[0].removesuffix(".")
            rows.append([key, as_toml(values[key]), first_sentence])
        comment = []

    return rows
