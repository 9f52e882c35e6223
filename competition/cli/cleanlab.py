"""`comp cleanlab`: audit the labels, and hear what people say of the worst."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app, show
from competition.errors import InputError
from competition.progress import console, warn
from competition.workspace import Workspace, write_text

if TYPE_CHECKING:
    import pandas as pd

    from competition.pipeline import Pipeline


@app.command()
def cleanlab(
    run: Annotated[
        str | None, typer.Option("--from", metavar="RUN", help="A complete 4-class run; noise_run unless named.")
    ] = None,
    fraction: Annotated[
        float | None, typer.Option(help="Share of rows that may be dropped; noise_fraction unless named.")
    ] = None,
    verdicts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What people say of rows, in place of what they said before.")
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the inspection page in a browser.")] = False,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Find labels that the out-of-fold predictions contradict, and say which rows training would drop."""
    from competition import noise
    from competition.pipeline import Pipeline, execute
    from competition.tables import read_table

    if fraction is not None and not 0 < fraction < 0.5:
        raise InputError(f"--fraction {fraction} is out of range: above 0 and below 0.5.")
    space = Workspace.open(workspace)
    pipeline = Pipeline(space)
    name = run or pipeline.settings.noise_run
    if not name:
        raise InputError("competition.toml names no noise_run: say which run to audit with --from RUN.")
    plan = pipeline.audited_run(name)
    if verdicts is not None:
        pipeline.maker.keep_verdicts(plan, verdicts)  # before the step, whose inputs they are
    step = pipeline.noise_step(name, fraction)
    execute(space, [step])
    path = space.noise(plan.name)
    flags, examples = read_table(path, step.inputs), pipeline.maker.examples
    table = noise.summary(flags, examples)
    rows = [[label, *(f"{n:,.0f}" for n in counts), f"{share:.3f}"] for label, *counts, share in table.itertuples()]
    show(f"Audit of {name}", ["", "rows", "flagged", "dropped", "share dropped"], rows)
    for label, _, _, dropped, share in table.itertuples():
        if str(label).startswith("label ") and share > 0.5:
            warn(f"{dropped:,.0f} rows, {share:.0%} of {label}, would be dropped: {name} may know too little.")
    worst = noise.worst(flags, examples, pipeline.maker.products)
    cells = [
        [
            f"{w.rank:.0f}",
            str(w.example_id),
            w.locale,
            w.given,
            w.suggested,
            f"{w.quality:.3f}",
            str(w.query)[:40],
            str(w.title)[:60],
        ]
        for w in worst.itertuples()
    ]
    show(
        "The worst rows", ["rank", "example_id", "locale", "given", "suggested", "quality", "query", "title"], cells, 8
    )
    allowed = fraction or pipeline.settings.noise_fraction
    if flags["rank"].count() < int(allowed * len(flags)):
        share = flags["dropped"].mean()
        console.print(f"Fewer rows are flagged than {allowed:.1%} allow: {share:.1%} would be dropped.")
    if fraction is not None and fraction != pipeline.settings.noise_fraction:
        console.print(f"competition.toml says noise_fraction = {pipeline.settings.noise_fraction}: recipes obey that.")
    console.print(
        f"{path}: recipes with drop_noise_from = {name!r} train without the dropped rows; held-out rows stay."
    )
    _inspection(pipeline, plan.name, flags, open_page)


def _inspection(pipeline: "Pipeline", run: str, flags: "pd.DataFrame", open_page: bool) -> None:
    """Write the page on which people judge the worst rows, and say which verdicts the audit honours."""
    import webbrowser

    from competition.inspection import inspection_page
    from competition.verdicts import tally

    verdicts, page = pipeline.verdicts(run), pipeline.workspace.inspection(run)
    examples, products = pipeline.maker.examples, pipeline.maker.products
    write_text(page, inspection_page(run, pipeline.card.train, flags, verdicts, examples, products))
    if len(verdicts):
        kept = pipeline.workspace.verdicts(run)
        console.print(f"{kept}: {tally(verdicts)}, which the audit honours; without the file, it would not.")
    console.print(
        f"{page}: judge the worst rows there; `comp cleanlab --from {run} --verdicts FILE` honours what it saves."
    )
    if open_page and not webbrowser.open(page.resolve().as_uri()):
        warn(f"no browser could be opened: open {page} by hand.")
