"""`comp clean`: remove checkpoints that are no longer needed."""

from pathlib import Path

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.output import help_epilog
from competition.core.console import console
from competition.core.workspace import Workspace


@app.command(epilog=help_epilog("comp clean"))
def clean(workspace: WorkspaceOption = HERE) -> None:
    """Remove checkpoints that are no longer needed.

    Keeps those that unfinished training continues from.
    """
    import shutil

    from competition.pipeline.cleanup import stale_checkpoints

    space = Workspace.open(workspace)
    done, kept = stale_checkpoints(space)

    freed = 0
    for folder in done:
        size = _size(folder)
        shutil.rmtree(folder)
        freed += size
        console.print(f"{folder.relative_to(space.root)}: {_megabytes(size)}")

    if freed:
        console.print(f"Freed: {_megabytes(freed)}")
    else:
        console.print("Nothing to remove: finished training has left no checkpoints.")
    if kept:
        console.print(f"Kept the checkpoints of unfinished training: {', '.join(kept)}")


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
