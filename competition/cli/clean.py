"""`comp clean`: remove checkpoints that nothing goes on from any more."""

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.output import help_epilog
from competition.core.console import console
from competition.core.workspace import Workspace


@app.command(epilog=help_epilog("comp clean"))
def clean(workspace: WorkspaceOption = HERE) -> None:
    """Remove the checkpoints of folds that are trained and of encoders that are made; others are kept."""
    import shutil

    from competition.pipeline.cleanup import stale_checkpoints

    space = Workspace.open(workspace)
    done, kept = stale_checkpoints(space)
    freed = 0
    for folder in done:
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        shutil.rmtree(folder)
        freed += size
        console.print(f"{folder.relative_to(space.root)}: {_megabytes(size)}")
    if freed:
        console.print(f"Freed: {_megabytes(freed)}")
    else:
        console.print("Nothing to free: no checkpoint of a finished fold is left.")
    if kept:
        console.print(f"Kept, since what they are on the way to is not there: {', '.join(kept)}")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
