"""`comp cleanlab`: audit the labels, and take people's reviews of the worst rows."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.output import OutputCell, help_epilog, show_table
from competition.core.atomic import write_text
from competition.core.commands import command_for, shell_quoted
from competition.core.console import console, warn
from competition.core.errors import CompError, InputError, pluralize
from competition.core.json_files import read_json
from competition.core.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from competition.config.keys import AuditKeys
    from competition.noise.raters import RaterAgreement
    from competition.pipeline.steps import Pipeline


# The options, of which most are keys of the audit.
RunOption = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="RUN",
        help="A complete 4-class run, or several: c1+lexical; default: noise_run.",
    ),
]
FractionOption = Annotated[
    float | None,
    typer.Option(help="Largest share of rows to drop; default: noise_fraction."),
]
MethodOption = Annotated[
    str | None,
    typer.Option(
        help="prune_by_noise_rate (the paper's), low_self_confidence, confident_learning, both (cleanlab's names) "
        "or posterior; default: noise_method."
    ),
]
PerLabelOption = Annotated[
    bool | None,
    typer.Option(
        "--per-label/--no-per-label",
        help="Drop at most the share --fraction of each label, too.",
    ),
]
PerLocaleOption = Annotated[
    bool | None,
    typer.Option(
        "--per-locale/--no-per-locale",
        help="Drop at most the share --fraction of each locale, too.",
    ),
]
CalibratedOption = Annotated[
    bool | None,
    typer.Option(
        "--calibrated/--no-calibrated",
        help="Calibrate probabilities first, by a temperature fitted on the other folds.",
    ),
]
DespiteDoubtsOption = Annotated[
    bool | None,
    typer.Option(
        "--despite-doubts/--no-despite-doubts",
        help="Drop rows even where the audit is unreliable.",
    ),
]
VerdictsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Reviews saved from the review page; they replace earlier ones.",
    ),
]


@app.command(
    epilog=help_epilog(
        "comp cleanlab", "comp cleanlab --from c1+lexical --method posterior --fraction 0.03"
    )
)
def cleanlab(
    run: RunOption = None,
    fraction: FractionOption = None,
    method: MethodOption = None,
    per_label: PerLabelOption = None,
    per_locale: PerLocaleOption = None,
    calibrated: CalibratedOption = None,
    despite_doubts: DespiteDoubtsOption = None,
    verdicts: VerdictsOption = None,
    open_page: Annotated[
        bool, typer.Option("--open", help="Open the review page in a browser.")
    ] = False,
    workspace: WorkspaceOption = HERE,
) -> None:
    """Find wrong labels by out-of-fold predictions.

    Shows which rows training would drop, and writes a page on which people can review them.
    """
    from competition.config.settings import override_audit_keys
    from competition.core.parquet import read_table
    from competition.pipeline.build_outputs import save_reviews
    from competition.pipeline.execute import execute
    from competition.pipeline.steps import Pipeline

    if fraction is not None and not 0 < fraction < 0.5:
        raise InputError(f"--fraction {fraction} is out of range: above 0 and below 0.5.")
    space = Workspace.open(workspace)
    pipeline = Pipeline(space)
    name = run or pipeline.plan.settings.noise_run
    if not name:
        raise InputError(
            "competition.toml sets no noise_run: choose the run to audit with --from RUN."
        )
    options = {
        "fraction": fraction,
        "method": method,
        "per_label": per_label,
        "per_locale": per_locale,
        "calibrated": calibrated,
        "despite_doubts": despite_doubts,
    }
    keys = override_audit_keys(pipeline.plan.settings, options)
    if verdicts is not None:
        # Before the audit, which reads them.
        save_reviews(pipeline.tables, *pipeline.plan.audited_runs(name), verdicts)
    plan = pipeline.plan.audit(name, keys)
    made = execute(space, [pipeline.noise_step(name, keys)])
    path = space.noise(plan.name)
    flags, card = read_table(path, plan.inputs), read_json(space.noise_card(plan.name))

    # Without rows of every label there is nothing to estimate noise from.
    if skipped := card.get("skipped"):
        raise CompError(skipped)

    _show(pipeline, plan.name, flags, warned=bool(made))
    _print_remarks(pipeline, keys, flags, card["unaudited"])
    console.print(
        f"{path}: recipes with drop_noise_from = {name!r} train without the dropped rows; scores use all rows."
    )
    _inspection(pipeline, plan.name, flags, open_page)


def _show(pipeline: "Pipeline", run: str, flags: "pd.DataFrame", warned: bool) -> None:
    """Show the tables of an audit, and its doubts unless it has just `warned` of them."""
    from competition.noise import report
    from competition.noise.raters import rater_agreement

    examples, products = pipeline.tables.examples, pipeline.tables.products
    contest = pipeline.tables.contest
    counts = report.count_issues(flags, examples, contest.labels.names, contest.locale_names)
    _show_counts(run, counts)
    card = read_json(pipeline.workspace.noise_card(run))
    if not warned and (caveat := report.caveat(card)):
        warn(caveat)
    _show_matrices(card)
    _show_raters(rater_agreement(flags, examples, contest.raters))
    _show_worst(report.worst_rows(flags, examples, products, contest.texts[0]))


def _show_raters(found: "RaterAgreement | None") -> None:
    """Show how the flags agree with several people's labels, where the competition names these."""
    if found is None:
        return

    rows: list[list[object]] = [
        ["share of flagged rows that raters disagree on", found.flagged, found.of_flagged],
        ["share of other rows", found.rows - found.flagged, found.of_others],
        ["difference", found.rows, OutputCell(found.difference, "+")],
        ["AUC of low quality for disagreement (0.5: chance)", found.rows, found.auc],
    ]
    header = {"what": "rows with two or more raters", "rows": "rows", "estimate": "estimate [95 %]"}
    show_table("Flags and raters", header, rows)
    console.print(found.sentence)


def _print_remarks(
    pipeline: "Pipeline", keys: "AuditKeys", flags: "pd.DataFrame", unaudited: int
) -> None:
    """Print what the tables do not show: unaudited rows, keys that differ, and how reliable the flags are."""
    # Audits that agree on fewer rows than the limit flag fewer; rounding is not worth a remark.
    if flags["rank"].count() < int(round(keys.fraction * len(flags), 9)):
        share = flags["dropped"].mean()
        console.print(
            f"Fewer rows are flagged than the limit of {keys.fraction:.1%}: {share:.1%} would be dropped."
        )
    if unaudited:
        console.print(
            f"Not audited, since they have no label: {pluralize(unaudited, 'training row')}."
        )

    # Options of this command are not recorded: recipes use the keys of competition.toml.
    for key, value in keys.model_dump().items():
        if value != (own := getattr(pipeline.plan.settings.audit, key)):
            console.print(f"competition.toml has noise_{key} = {own!r}, and recipes follow that.")
    console.print(
        "Approximate: the audited models have learned from labels that a recipe is then scored on. With nested = true, "
        "a recipe uses audits by models that have not."
    )


def _show_counts(name: str, table: "pd.DataFrame") -> None:
    """Show how many rows are flagged and dropped, by label and locale."""
    rows = [
        [label, *(OutputCell(n, ",.0f") for n in counts), OutputCell(share, ".3f")]
        for label, *counts, share in table.itertuples()
    ]
    header = {
        "of": "",
        "rows": "rows",
        "flagged": "flagged",
        "dropped": "dropped",
        "share": "share dropped",
    }
    show_table(f"Audit of {name}", header, rows, run=name)


def _show_matrices(card: dict[str, Any]) -> None:
    """Show the estimated counts and shares of given label x true label."""
    labels = card["labels"]
    # Headings that leave room for all labels in a narrow terminal.
    header = {"given": "given"} | {f"truly {label}": f"true {label}" for label in labels}

    def rows(matrix: list[list[float]], number_format: str) -> list[list[object]]:
        return [
            [given, *(OutputCell(value, number_format) for value in values)]
            for given, values in zip(labels, matrix, strict=True)
        ]

    show_table(
        "Confident joint: estimated number of rows by given and true label",
        header,
        rows(card["confident_joint"], ",.0f"),
    )
    show_table(
        "Noise matrix: for each true label, the share of rows with each given label",
        header,
        rows(card["noise_matrix"], ".3f"),
    )
    for run, by_fold in zip(card["runs"], card["temperatures"], strict=False):
        temperatures = ", ".join(f"{by_fold[fold]:.2f}" for fold in sorted(by_fold, key=int))
        console.print(f"Temperatures of {run}, by fold: {temperatures}")


def _show_worst(rows: "pd.DataFrame") -> None:
    """Show the rows with the most suspicious labels; long texts are cut for people."""
    cells = [
        [
            OutputCell(row.rank, ".0f"),
            OutputCell(row.example_id, "d"),
            row.locale,
            row.given,
            row.suggested,
            OutputCell(row.quality, ".3f"),
            OutputCell(str(row.query), text=str(row.query)[:40]),
            OutputCell(str(row.title), text=str(row.title)[:60]),
        ]
        for row in rows.itertuples()
    ]
    header = ["rank", "example_id", "locale", "given", "suggested", "quality", "query", "title"]
    show_table("The worst rows", header, cells, left=8)


def _inspection(pipeline: "Pipeline", run: str, flags: "pd.DataFrame", open_page: bool) -> None:
    """Write the page on which people review the worst rows, and print which reviews the audit follows."""
    import webbrowser

    from competition.analysis.review_page import render_review_page
    from competition.noise.reviews import describe_reviews

    verdicts, page = pipeline.plan.reviews(run), pipeline.workspace.review_page(run)
    examples, products = pipeline.tables.examples, pipeline.tables.products
    write_text(
        page,
        render_review_page(
            pipeline.plan.contest,
            run,
            pipeline.plan.card.train,
            flags,
            verdicts,
            examples,
            products,
        ),
    )
    if len(verdicts):
        kept = pipeline.workspace.reviews(run)
        console.print(
            f"{kept}: {describe_reviews(verdicts)}. The audit follows these reviews; delete the file to forget them."
        )
    command = command_for(f"comp cleanlab --from {shell_quoted(run)} --verdicts FILE")
    console.print(
        f"{page}: review the worst rows there, save the file, then `{command}` applies the reviews."
    )
    if open_page and not webbrowser.open(page.resolve().as_uri()):
        warn(f"no browser could be opened: open {page} yourself.")
