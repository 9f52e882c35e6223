"""`comp data`: import, generate or describe rows."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.options import open_contest, open_workspace, stated_contest
from competition.cli.output import help_epilog, show_table
from competition.core.commands import command_for
from competition.core.console import console, progress, warn
from competition.core.errors import InputError, escape_controls, join_names, pluralize
from competition.core.json_files import read_json
from competition.core.workspace import Workspace

if TYPE_CHECKING:
    from competition.scoring.contest import Contest

group = typer.Typer(
    help="Import, generate or describe rows.",
    invoke_without_command=True,
    epilog=help_epilog("comp data"),
)
app.add_typer(group, name="data")

# The sources in `data/data.json` of rows that the user did not import.
_SAMPLE = "the sample that comes with comp"
_SYNTH = "synth"

_HALF = 0.5  # of the test queries: whether they are training queries, as a rule


@group.callback()
def describe(context: typer.Context, workspace: WorkspaceOption = HERE) -> None:
    """Describe the rows: counts per split, locale and label, missing text, queries in both splits."""
    context.obj = workspace
    if context.invoked_subcommand is None:
        _show(Workspace.open(workspace))


def _show(workspace: Workspace) -> None:
    from competition.data import describe, store

    contest = open_contest(workspace)
    examples, products = store.load_examples(workspace), store.load_products(workspace)
    position = store.product_rows(examples, products)
    table = describe.describe(contest, examples, products, position)
    rows = [[str(name), *row] for name, row in zip(table.index, table.to_numpy(), strict=True)]
    show_table("Data", {"what": "", **{name: name for name in table.columns}}, rows)


@group.command(
    "import",
    epilog=help_epilog(
        "comp data import esci-data",
        "comp data import judgments.csv --map query=search,title=name,label=grade",
    ),
)
def import_(
    context: typer.Context,
    path: Annotated[
        Path,
        typer.Argument(help="The folder with the files of the competition, or one file of rows."),
    ],
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="OURS=NAME",
            help="Read the column OURS from the column NAME; can be repeated, also with commas.",
        ),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option(
            help="The encoding of CSV files, such as cp1252; default: that of the definition."
        ),
    ] = None,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Import the rows of the workspace's competition.

    From CSV or parquet files, also compressed. The definition of the competition says which file
    and which column is what; --map and --encoding override it. Of ESCI, PATH holds the two released parquet files
    or the three CSV folders.
    """
    space = open_workspace(context, workspace)
    _import(space, path, path.resolve().name, columns or [], encoding)


@group.command(
    "import-unlabelled", epilog=help_epilog("comp data import-unlabelled more-pairs.csv")
)
def import_unlabelled(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="CSV or parquet: a query and a product's fields in each row.")
    ],
    locale: Annotated[
        str, typer.Option(help="Of rows that name none; default: the competition's first.")
    ] = "",
    workspace: WorkspaceOption = HERE,
) -> None:
    """Import pairs without labels, for recipes with distill_rows = ["unlabelled"].

    They replace those of an earlier import. Their text is read as that of `comp predict`; a teacher says
    what they are worth.
    """
    from competition.pipeline.new_rows_files import read_file
    from competition.pipeline.tables import Tables
    from competition.pipeline.unlabelled import import_unlabelled

    space = open_workspace(context, workspace)
    contest = open_contest(space)
    new = import_unlabelled(space, contest, read_file(file), str(file), locale)
    for remark in new.remarks:
        warn(remark)
    # Such as some of a teacher's outputs, or all under other names.
    if new.unread:
        warn(f"{file}: columns that were not read: {escape_controls(join_names(new.unread))}.")

    tables = Tables(space, contest)
    known = int(new.among(tables.examples, tables.products).sum())
    if known:
        warn(
            f"{known:,} of these rows are rows of the workspace: they are taught on like the others."
        )
    console.print(f"{pluralize(len(new.examples), 'unlabelled pair')}. File: {space.unlabelled}")


@group.command(epilog=help_epilog("comp data sample"))
def sample(context: typer.Context, workspace: WorkspaceOption = HERE) -> None:
    """Import the sample of 3,093 real ESCI rows that comes with this program, without a download."""
    from competition.data.esci import SAMPLE

    space = open_workspace(context, workspace)
    _refuse_other_contests(space, "The sample is")
    _keep_imported(space)
    _import(space, SAMPLE, _SAMPLE, [])


def _refuse_other_contests(space: Workspace, what: str) -> None:
    """Refuse rows of ESCI in a workspace of another competition."""
    contest = stated_contest(space)
    if contest.source.layout != "esci":
        raise InputError(
            f"{what} of the competition 'esci', and {space.root} is of {contest.name!r}: use another workspace."
        )


def _import(
    space: Workspace, path: Path, source: str, columns: list[str], encoding: str | None = None
) -> None:
    """Import the files of a competition; `data.json` records `source` as where they come from."""
    from dataclasses import replace

    from competition.data import esci, folds, store
    from competition.data.tables.columns import parse_map
    from competition.data.tables.files import list_files
    from competition.data.tables.reader import read_tables

    contest = stated_contest(space)
    if contest.source.layout == "esci":
        if columns or encoding:
            option = "--map" if columns else "--encoding"
            raise InputError(
                f"{option} is for competitions with tables of their own; the files of ESCI are known."
            )
        folder = esci.locate(path)
        files = [file for file in folder.rglob("*") if file.is_file()]
    else:
        called = parse_map(columns, contest)
        if encoding:
            contest = replace(contest, source=replace(contest.source, encoding=encoding))
        files = list_files(path, contest)
    space.check_space(sum(file.stat().st_size for file in files), "The import")

    with progress(f"reading {path}"):
        if contest.source.layout == "esci":
            examples, products = esci.read(folder)
        else:
            examples, products = read_tables(path, contest, called)
    with progress("checking and writing"):
        store.save(space, contest, examples, products, source)
    # They are read again to be described: their text is not to be in memory twice.
    del products

    # Generated rows record which of their labels are wrong; these are other rows.
    space.planted.unlink(missing_ok=True)
    _show(space)
    if contest.source.layout != "esci":
        _advise_folds(contest, folds.share_of_test(examples))
    _print_outdated(space)


def _advise_folds(contest: "Contest", shared: float) -> None:
    """Say where folds are not held out as test rows are: `shared` is the share of test queries that are trained on."""
    definition = f"the definition {contest.name!r}"
    if shared < _HALF and not contest.has_queries_apart:
        warn(
            f"{shared:.0%} of the test queries are training queries, but folds hold rows: scores will be higher "
            f'than on test rows, since each query was trained on. Write folds = "queries" into {definition}.'
        )
    if shared > _HALF and contest.has_queries_apart and contest.ranking is None:
        console.print(
            f"{shared:.0%} of the test queries are training queries, but folds hold whole queries: scores will be "
            f'lower than on test rows. Write folds = "rows" into {definition} to hold out rows alone.'
        )


def _keep_imported(space: Workspace) -> None:
    """Refuse to replace the user's imported rows by the sample or by generated rows."""
    # A workspace without data has no source, and nothing to lose.
    source = read_json(space.data_card).get("source", _SYNTH)
    if source != _SAMPLE and not source.startswith(_SYNTH):
        raise InputError(
            f"{space.root} has imported rows ({source}), which this would replace: remove its data folder, or use "
            "another workspace."
        )


@group.command(
    epilog=help_epilog(
        "comp data synth --queries 100", "comp data synth --queries 100 --noise 0.1 --by-label"
    )
)
def synth(
    context: typer.Context,
    workspace: WorkspaceOption = HERE,
    queries: Annotated[int, typer.Option(min=60, help="Number of queries.")] = 300,
    depth: Annotated[int, typer.Option(min=2, help="Mean number of products per query.")] = 8,
    noise: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share of training labels to make wrong.")
    ] = 0.05,
    by_label: Annotated[
        bool,
        typer.Option(
            "--by-label",
            help="Confuse similar labels, and rare labels more often; default: all labels alike.",
        ),
    ] = False,
    synonyms: Annotated[
        bool,
        typer.Option(
            help="Give products synonyms, product lines and two units, so that matching words is not enough."
        ),
    ] = True,
    seed: Annotated[int, typer.Option(help="Seed of the random generator.")] = 2022,
) -> None:
    """Generate a catalogue with queries and labels, then make a known share of the training labels wrong.

    Without wrong labels (`--noise 0`), every label is right by construction.
    """
    from competition.core.parquet import write_table
    from competition.data import store, synthetic

    if not 0 <= seed < 2**32:
        raise InputError(f"--seed {seed} is out of range: 0 to {2**32 - 1}.")

    space = open_workspace(context, workspace)
    _refuse_other_contests(space, "Generated rows are")
    _keep_imported(space)
    examples, products, planted = synthetic.make(queries, noise, seed, by_label, depth, synonyms)

    # Defaults that came later are left out, so that the same command writes the same source.
    source = f"{_SYNTH} queries={queries} noise={noise} seed={seed}"
    source += " by label" if by_label else ""
    source += f" depth={depth}" if depth != synthetic.DEPTH else ""
    source += " synonyms" if synonyms else ""
    store.save(space, synthetic.CONTEST, examples, products, source)
    write_table(space.planted, planted, store.load_card(space).train)

    _show(space)
    console.print(
        f"{pluralize(len(planted), 'training label is', 'training labels are')} wrong on purpose; {space.planted} "
        "lists them. Training never reads it."
    )
    _print_outdated(space)


def _print_outdated(space: Workspace) -> None:
    """Name the runs that were made from other rows than the workspace now has."""
    from competition.data.store import load_card

    # Each run records the fingerprints of the rows that it was made from.
    card = load_card(space)
    current = {"train": card.train, "test": card.test}
    outdated = [
        path.parent.name
        for path in sorted(space.oof.glob("*/run.json"))
        if read_json(path).get("data") != current
    ]
    if outdated:
        console.print(
            f"Out of date, because they were trained on other rows: {join_names(outdated)}. "
            f"`{command_for('comp run')}` rebuilds those that competition.toml lists."
        )
