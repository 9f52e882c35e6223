"""`comp audit-leaks`: may the scores be trusted?"""

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.output import OutputCell, first_names, show
from competition.core.console import console
from competition.core.errors import CompError
from competition.core.workspace import Workspace

if TYPE_CHECKING:
    from competition.analysis.leakage import Verdict


@app.command(
    "audit-leaks",
    epilog=first_names("comp audit-leaks c1 t3", "comp audit-leaks blend --shuffles 2"),
)
def audit_leaks(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="Runs and ensembles; all of competition.toml."),
    ] = None,
    shuffles: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How often labels are shuffled; as often as a leak of 0.01 takes, at most 10 times.",
        ),
    ] = None,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Make every run anew on shuffled labels, members too. Slow."),
    ] = False,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Check folds, rows and overlaps of every run, and that runs score as chance on shuffled labels.

    Ensembles are fitted on shuffled labels over their members as they are, and models of trees are
    trained on them; with --deep, every run is made anew with all that it learns from. A trial that
    scores above chance is made once more on fresh shuffles, and that one counts. Runs whose recipe
    lets labels reach their own score are approximate: --deep measures by how much that flatters,
    and `comp run` and the report then say so.
    """
    from competition.analysis.leakage import audit
    from competition.pipeline.steps import Pipeline

    pipeline = Pipeline(Workspace.open(workspace))
    findings = list(audit(pipeline, names or pipeline.recipes.requested(), shuffles, deep))
    rows = [
        [found.what, OutputCell(found.passed, style=style, text=text), found.said, found.verdict]
        for found in findings
        for text, style in [_LOOKS[found.verdict]]
    ]
    header: dict[str, str | None] = {
        "run": "run",
        "passed": "",
        "found": "what was found",
        "verdict": None,
    }
    show("Leaks", header, rows, 3)
    verdicts = Counter(found.verdict for found in findings)
    if failed := verdicts["look"]:
        raise CompError(
            f"{failed} of {len(rows)} checks did not pass: the scores of these runs cannot be trusted."
        )
    if verdicts["ok"] == len(rows):
        console.print(f"All {len(rows)} checks passed.")
        return
    left = [f"{verdicts[verdict]} {words}" for verdict, words in _LEFT.items() if verdicts[verdict]]
    console.print(f"{verdicts['ok']} of {len(rows)} checks passed; {', '.join(left)}.")


_LOOKS: dict["Verdict", tuple[str, str]] = {
    "ok": ("ok", "green"),
    "look": ("LOOK", "bold red"),
    "approximate": ("approximate", "yellow"),
    "cannot say": ("cannot say", "yellow"),
    "not tried": ("not tried", "yellow"),
}
_LEFT: dict["Verdict", str] = {
    "approximate": "of runs whose scores are approximate",
    "cannot say": "cannot say, there are too few queries",
    "not tried": "not tried",
}
