"""`comp member`: outputs that another tool made, as runs."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.options import complete_recipe, open_workspace
from competition.cli.output import help_epilog, show_table
from competition.core.commands import command_for, shell_quoted
from competition.core.console import console, warn
from competition.core.workspace import Workspace

if TYPE_CHECKING:
    from competition.analysis.members import AddedMember

group = typer.Typer(
    help="Add outputs that another tool made, or export a run's.",
    invoke_without_command=True,
    epilog=help_epilog("comp member"),
)
app.add_typer(group, name="member")


@group.callback()
def list_members(context: typer.Context, workspace: WorkspaceOption = HERE) -> None:
    """List the members that were added."""
    from competition.analysis.members import members

    context.obj = workspace
    if context.invoked_subcommand is not None:
        return
    found = members(Workspace.open(workspace))
    rows = [[each.name, each.kind, each.scheme, each.in_sample, each.description] for each in found]
    header = ["member", "kind", "folds", "in-sample", "from"]
    show_table("Members from elsewhere", header, rows, left=5)
    if not found:
        console.print("There is none: `comp member add NAME FILE --kind classes` adds one.")


@group.command(
    epilog=help_epilog(
        "comp member add theirs theirs.csv --kind classes",
        "comp member add ranked ranked.parquet --kind score --scheme five",
    )
)
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The name of the run.")],
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV or parquet: example_id, the outputs, and the fold in which each training row was held out."
        ),
    ],
    kind: Annotated[
        str,
        typer.Option(
            help="What the outputs are: classes (a probability of each label), gain, score, or another kind of the "
            "competition."
        ),
    ],
    scheme: Annotated[
        str | None,
        typer.Option(
            help="Where the file has no column `fold`: its models left out the folds of this scheme, five or ten."
        ),
    ] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Add out-of-fold and test outputs of another tool as a run.

    Each row is checked: it must be in the data, once, with numbers of its kind. A test finds outputs of
    models that saw the labels of their rows; the scores of such a run are marked as approximate.
    """
    from competition.analysis.members import add_command, add_member

    space = open_workspace(context, workspace)
    added = add_member(space, name, file, kind, scheme)
    recipe = added.recipe
    verb = "replaced" if added.replaced else "added"
    folds = "declared, not checked" if added.declared else "as in the file"
    console.print(
        f"{name}: {added.rows:,} rows {verb}, folds of {recipe.scheme} ({folds}). Files: {space.member(name)}, "
        f"{space.recipe_folder / name}.toml"
    )
    _show_test(name, added)
    command = command_for(add_command(name))
    console.print(
        f"Its run: {command}; name it in `recipes` of competition.toml for `comp run` and its ensembles."
    )


def _show_test(name: str, added: "AddedMember") -> None:
    """Say whether outputs look in-sample."""
    test = added.test
    if test is None:
        console.print(
            "Whether they are out-of-fold could not be tested: that takes test rows, and for scores a complete run."
        )
        return

    if math.isnan(test.ratio.value) and not test.flagged:
        console.print(
            "Whether they are out-of-fold could not be tested: outputs of training or of test rows do not vary."
        )
        return

    about = (
        f"They follow the labels {test.ratio.value:.2f} times as closely as test rows warrant, where held-out outputs "
        f"do up to {test.ratio.limit:.1f} times"
    )
    if test.loss is not None and math.isfinite(test.loss.value):
        lost = max(0.0, test.loss.value)
        about += (
            f"; of their agreement with {added.reference}, test rows lack {lost:.0%} (held-out ones up to "
            f"{test.loss.limit:.0%})"
        )
    if test.near is not None and math.isfinite(test.near.value):
        about += (
            f"; between rows of nearly the same text {test.near.value:.2f} times (held-out ones up to "
            f"{test.near.limit:.1f})"
        )
    if test.flagged:
        warn(
            f"{name} looks in-sample: models that saw the labels of these rows made its outputs. {about}. Its scores, "
            "and those of what reads it, are marked as approximate."
        )
    else:
        console.print(
            f"The outputs look out-of-fold. {about}. No test sees models that are as wild on test rows as the labels "
            "that they learned by heart, such as a single tree."
        )


@group.command(epilog=help_epilog("comp member export lexical lexical.csv"))
def export(
    context: typer.Context,
    run: Annotated[str, typer.Argument(help="A complete run.", autocompletion=complete_recipe)],
    file: Annotated[Path, typer.Argument(help="The file to write, .csv or .parquet.")],
    workspace: WorkspaceOption = HERE,
) -> None:
    """Write a run's outputs of all rows, with their folds, as `comp member add` reads them."""
    from competition.analysis.members import export_run

    rows = export_run(open_workspace(context, workspace), run, file)
    console.print(f"{file}: {rows:,} rows of {run}.")


@group.command(epilog=help_epilog("comp member remove theirs"))
def remove(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A member that was added.")],
    workspace: WorkspaceOption = HERE,
) -> None:
    """Remove a member: its outputs and its recipe. Its run in oof/ stays."""
    from competition.analysis.members import remove_member

    space = open_workspace(context, workspace)
    remove_member(space, name)
    console.print(f"{name}: removed. Its run stays in {shell_quoted(space.run(name))}.")
