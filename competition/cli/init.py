"""`comp init`: a new workspace."""

import tomllib
from pathlib import Path
from typing import Annotated

import typer

from competition.cli.app import HERE, app
from competition.cli.output import as_toml, help_epilog, show_table
from competition.core.atomic import write_text
from competition.core.commands import command_for
from competition.core.console import console
from competition.core.errors import InputError
from competition.core.workspace import FOLDERS, Workspace


@app.command(epilog=help_epilog("comp init work"))
def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="The folder to make a workspace of.")
    ] = HERE,
) -> None:
    """Make a workspace: the folders for what the commands leave, and `competition.toml`, which explains itself."""
    from importlib.resources import files

    workspace = Workspace(folder)
    if workspace.settings_file.exists():
        raise InputError(
            f"{folder} is a workspace already: remove {workspace.settings_file} to start anew."
        )
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, a workspace is a folder: choose another name.")
    text = files("competition.config").joinpath("competition.toml").read_text(encoding="utf-8")
    for name in FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    write_text(workspace.settings_file, text)
    show_table(
        str(workspace.settings_file),
        {"key": "key", "value": "value", "about": "what it says"},
        _explained(text),
        3,
    )
    bring, make, run = (
        command_for(command, folder)
        for command in ("comp data import PATH", "comp data sample", "comp run")
    )
    console.print(f"Next: {bring}, or {make}; then {run}")


def _explained(text: str) -> list[list[object]]:
    """The keys and tables of a TOML file, each with its value and the first sentence of the comment above it."""
    values = tomllib.loads(text)
    rows: list[list[object]] = []
    comment: list[str] = []
    for line in text.splitlines():
        key = line.partition("=")[0].strip(" []")
        if line.startswith("#"):
            comment.append(line.removeprefix("#").strip())
        elif key in values:
            rows.append(
                [key, as_toml(values[key]), " ".join(comment).split(". ")[0].removesuffix(".")]
            )
        if not line.startswith("#"):
            comment = []
    return rows
