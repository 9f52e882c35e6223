"""`comp push`: upload an exported folder to the model hub."""

from pathlib import Path
from typing import Annotated

import typer

from competition.cli.app import app
from competition.cli.output import OutputCell, help_epilog, show_table
from competition.core.console import console, warn
from competition.core.errors import CompError, InputError


@app.command(
    epilog=help_epilog("comp push model team/reranker", "comp push model team/reranker --upload")
)
def push(
    folder: Annotated[Path, typer.Argument(help="A folder that `comp export` wrote.")],
    repository: Annotated[str, typer.Argument(help="On the hub: OWNER/NAME.")],
    upload: Annotated[
        bool, typer.Option("--upload", help="Upload; without it, nothing leaves this machine.")
    ] = False,
    public: Annotated[
        bool, typer.Option("--public", help="Make a new repository that everyone can read.")
    ] = False,
) -> None:
    """Upload an exported folder to the hub; dry by default.

    Checks the folder against its certificate first. The upload takes the login of `hf auth login`.
    """
    from competition.models.exported.folder import (
        README,
        check_files,
        exported_files,
        is_exported,
    )

    if not is_exported(folder):
        raise InputError(
            f"{folder} is not a folder that `comp export` wrote: write one with `comp export RUN {folder}`."
        )
    check_files(folder)
    if repository.count("/") != 1 or not all(repository.split("/")):
        raise InputError(f"{repository!r} is not a repository of the hub: write OWNER/NAME.")

    files = exported_files(folder)
    rows = [[name, OutputCell((folder / name).stat().st_size, ",d")] for name in files]
    show_table(f"{folder} to {repository}", {"file": "file", "bytes": "bytes"}, rows)
    card = folder / README
    if not card.is_file() or "\nlicense:" not in card.read_text(encoding="utf-8", errors="replace"):
        warn(f"{folder / README} states no licence: export with --licence NAME.")

    if not upload:
        console.print("Nothing was uploaded: add --upload to do so.")
        return
    address = _upload(folder, repository, files, private=not public)
    console.print(f"{len(files)} files are at {address}")


def _upload(folder: Path, repository: str, files: list[str], private: bool) -> str:
    """Upload some files of a folder; return the address of the repository."""
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        address = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=files,
            commit_message="Export of comp",
        )
    except Exception as error:
        first = str(error).strip().splitlines() or [type(error).__name__]
        raise CompError(
            f"The upload to {repository!r} failed ({first[0].rstrip('.')}): log in with `hf auth login`, and see "
            "that the hub can be reached."
        ) from error
    return str(address)
