"""`comp audit-leaks`: may the scores be trusted?"""

from typing import Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.output import Cell, show, such_as
from competition.errors import CompError
from competition.progress import console
from competition.workspace import Workspace


@app.command("audit-leaks", epilog=such_as("comp audit-leaks c1 t3", "comp audit-leaks blend --shuffles 2"))
def audit_leaks(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Runs and ensembles; all of competition.toml.")
    ] = None,
    shuffles: Annotated[int, typer.Option(min=1, help="How often labels are shuffled.")] = 5,
    deep: Annotated[bool, typer.Option("--deep", help="Train the members on shuffled labels, too. Slow.")] = False,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Check folds, rows and overlaps of every run, and that ensembles score as chance on shuffled labels.

    A trial whose interval leaves chance out is made once more on fresh shuffles, and that one counts.
    """
    from competition.leak_audit import audit
    from competition.pipeline import Pipeline

    pipeline = Pipeline(Workspace.open(workspace))
    rows, failed = [], 0
    for finding in audit(pipeline, names or pipeline.wanted(), shuffles, deep):
        failed += not finding.passed
        style = "green" if finding.passed else "bold red"
        rows.append(
            [finding.what, Cell(finding.passed, style=style, text="ok" if finding.passed else "LOOK"), finding.said]
        )
    show("Leaks", {"run": "run", "passed": "", "found": "what was found"}, rows, 3)
    if failed:
        raise CompError(f"{failed} of {len(rows)} checks did not pass: the scores of these runs cannot be trusted.")
    console.print(f"All {len(rows)} checks passed.")
