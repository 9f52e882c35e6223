"""`comp init`: a new workspace."""

from pathlib import Path
from typing import Annotated

import typer

from competition.cli.app import app
from competition.errors import InputError
from competition.progress import console
from competition.workspace import FOLDERS, Workspace, write_text


@app.command()
def init(folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to make a workspace of.")]) -> None:
    """Make a workspace: `competition.toml` and the folders for what the commands leave."""
    from importlib.resources import files

    workspace = Workspace(folder)
    if workspace.settings_file.exists():
        raise InputError(f"{folder} is a workspace already: remove {workspace.settings_file} to start anew.")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, a workspace is a folder: choose another name.")
    for name in FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    write_text(workspace.settings_file, files("competition").joinpath("competition.toml").read_text(encoding="utf-8"))
    console.print(f"{folder} is ready. Next: comp data import PATH -w {folder}, or comp data synth -w {folder}")
