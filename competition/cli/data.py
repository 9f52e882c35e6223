"""`comp data`: bring, make or describe the rows."""

from pathlib import Path
from typing import Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.options import open_workspace
from competition.cli.output import help_epilog, show_table
from competition.core.commands import command_for
from competition.core.console import console, progress
from competition.core.errors import InputError, join_names
from competition.core.json_files import read_json
from competition.core.workspace import Workspace

group = typer.Typer(
    help="Bring real rows, make some, or describe what is there.",
    invoke_without_command=True,
    epilog=help_epilog("comp data"),
)
app.add_typer(group, name="data")
# Where rows come from that are no import of the user's, as `data/data.json` says it.
_SAMPLE = "the sample that comes with comp"
_SYNTH = "synth"


@group.callback()
def describe(context: typer.Context, workspace: WorkspaceOption = HERE) -> None:
    """Describe the data: rows, queries, labels, missing text, queries in both splits."""
    context.obj = workspace
    if context.invoked_subcommand is None:
        _show(Workspace.open(workspace))


def _show(workspace: Workspace) -> None:
    from competition.data import describe, store

    table = describe.describe(store.load_examples(workspace), store.load_products(workspace))
    rows = [[str(name), *row] for name, row in zip(table.index, table.to_numpy(), strict=True)]
    show_table("Data", {"what": "", **{name: name for name in table.columns}}, rows)


@group.command("import", epilog=help_epilog("comp data import esci-data"))
def import_(
    context: typer.Context,
    path: Annotated[Path, typer.Argument(help="The folder with the ESCI files, in either layout.")],
    workspace: WorkspaceOption = HERE,
) -> None:
    """Read real ESCI files: the released parquet files or the competition's CSV folders, whichever PATH holds."""
    _import(open_workspace(context, workspace), path, path.resolve().name)


@group.command(epilog=help_epilog("comp data sample"))
def sample(context: typer.Context, workspace: WorkspaceOption = HERE) -> None:
    """Bring the small sample of real ESCI rows that comes with this program: no download."""
    from competition.data.esci import SAMPLE

    space = open_workspace(context, workspace)
    _keep_imported(space)
    _import(space, SAMPLE, _SAMPLE)


def _import(space: Workspace, path: Path, source: str) -> None:
    """Read the ESCI files of a folder into the workspace, where they are known as `source`."""
    from competition.data import esci, store

    folder = esci.locate(path)
    space.check_space(
        sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()), "The import"
    )
    with progress(f"reading {path}"):
        examples, products = esci.read(folder)
    with progress("checking and writing"):
        store.save(space, examples, products, source)
    space.planted.unlink(missing_ok=True)
    _show(space)
    _say_outdated(space)


def _keep_imported(space: Workspace) -> None:
    """Refuse to replace rows that the user has imported by rows that come with this program."""
    source = read_json(space.data_card).get("source", _SYNTH)
    if source != _SAMPLE and not source.startswith(_SYNTH):
        raise InputError(
            f"{space.root} holds imported rows ({source}): remove its data folder, or make another workspace."
        )


@group.command(
    epilog=help_epilog(
        "comp data synth --queries 100", "comp data synth --queries 100 --noise 0.1 --by-label"
    )
)
def synth(
    context: typer.Context,
    workspace: WorkspaceOption = HERE,
    queries: Annotated[int, typer.Option(min=60, help="How many queries.")] = 300,
    depth: Annotated[
        int, typer.Option(min=2, help="Products of a query on average, half of it more or less.")
    ] = 8,
    noise: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share of training labels that are made wrong.")
    ] = 0.05,
    by_label: Annotated[
        bool,
        typer.Option(
            "--by-label",
            help="Neighbouring labels are confused, scarce ones more often; else evenly.",
        ),
    ] = False,
    synonyms: Annotated[
        bool,
        typer.Option(
            help="Things have two names, brands product lines, measures two units; words do not decide."
        ),
    ] = True,
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 2022,
) -> None:
    """Make the built-in catalogue: no download, labels right by construction, then a known share of them made wrong."""
    from competition.core.parquet import write_table
    from competition.data import store, synthetic

    if not 0 <= seed < 2**32:
        raise InputError(f"--seed {seed} is out of range: 0 to {2**32 - 1}.")
    space = open_workspace(context, workspace)
    _keep_imported(space)
    examples, products, planted = synthetic.make(queries, noise, seed, by_label, depth, synonyms)
    source = f"{_SYNTH} queries={queries} noise={noise} seed={seed}" + (
        " by label" if by_label else ""
    )
    source += f" depth={depth}" if depth != synthetic.DEPTH else ""
    source += " synonyms" if synonyms else ""
    store.save(space, examples, products, source)
    write_table(space.planted, planted, store.load_card(space).train)
    _show(space)
    console.print(
        f"{len(planted):,} training labels are wrong on purpose: {space.planted} knows them, nothing else reads it."
    )
    _say_outdated(space)


def _say_outdated(space: Workspace) -> None:
    """Name the runs that were made from other rows than those that are there now."""
    from competition.data.store import load_card

    card = load_card(space)
    made = {
        path.parent.name: read_json(path).get("data")
        for path in sorted(space.oof.glob("*/run.json"))
    }
    outdated = [
        run for run, data in made.items() if data != {"train": card.train, "test": card.test}
    ]
    if outdated:
        console.print(
            f"Made from other rows, so out of date now: {join_names(outdated)}. "
            f"`{command_for('comp run')}` makes those anew that competition.toml asks for."
        )
