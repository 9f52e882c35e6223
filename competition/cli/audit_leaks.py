"""`comp audit-leaks`: check that scores can be trusted."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.output import OutputCell, help_epilog, show_table
from competition.core.console import console
from competition.core.errors import CompError
from competition.core.workspace import Workspace

if TYPE_CHECKING:
    from competition.analysis.leakage import Outcome


@app.command(
    "audit-leaks",
    epilog=help_epilog("comp audit-leaks c1 t3", "comp audit-leaks blend --shuffles 2"),
)
def audit_leaks(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN]...", help="Runs and ensembles; default: all of competition.toml."
        ),
    ] = None,
    shuffles: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How often to shuffle labels; default: enough to detect a leak of 0.01, at most 10 times.",
        ),
    ] = None,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Retrain every run on shuffled labels, members too. Slow."),
    ] = False,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Check that the scores of runs can be trusted.

    Check folds and rows of every run, and that it scores no better than chance on shuffled labels.

    By default, ensembles are refitted and tree models retrained on shuffled labels; an ensemble's
    members stay as they are. With --deep, every run is retrained, with all that it learns from. A
    score above chance is tested once more on new shuffles, and the second result counts.

    Runs whose recipe learns from labels that it is scored on are approximate. --deep measures by how
    much that inflates their scores, and `comp run` and `comp report` then show it.
    """
    from competition.analysis.leakage import audit_leaks
    from competition.pipeline.steps import Pipeline

    pipeline = Pipeline(Workspace.open(workspace))
    findings = list(audit_leaks(pipeline, names or pipeline.recipes.requested(), shuffles, deep))
    rows = []
    for finding in findings:
        text, style = _LOOKS[finding.verdict]
        passed = OutputCell(finding.passed, style=style, text=text)
        rows.append([finding.subject, passed, finding.message, finding.verdict])

    # A heading of None is a column for JSON alone.
    header: dict[str, str | None] = {"run": "run", "passed": "", "found": "result", "verdict": None}
    show_table("Leaks", header, rows, left=3)

    verdicts = Counter(finding.verdict for finding in findings)
    if failed := verdicts["look"]:
        raise CompError(
            f"{failed} of {len(rows)} checks failed: the scores of these runs cannot be trusted."
        )
    if verdicts["ok"] == len(rows):
        console.print(f"All {len(rows)} checks passed.")
        return
    left = [f"{verdicts[verdict]} {words}" for verdict, words in _LEFT.items() if verdicts[verdict]]
    console.print(f"{verdicts['ok']} of {len(rows)} checks passed; {', '.join(left)}.")


_LOOKS: dict["Outcome", tuple[str, str]] = {
    "ok": ("ok", "green"),
    "look": ("LOOK", "bold red"),
    "approximate": ("approximate", "yellow"),
    "cannot say": ("undecided", "yellow"),
    "not tried": ("not run", "yellow"),
}
_LEFT: dict["Outcome", str] = {
    "approximate": "for runs whose scores are approximate",
    "cannot say": "undecided, because there are too few queries",
    "not tried": "not run",
}
