"""`comp folds`: assign queries to folds."""

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.output import OutputCell, help_epilog, show_table
from competition.core.console import console, warn
from competition.core.errors import pluralize
from competition.core.workspace import Workspace


@app.command(epilog=help_epilog("comp folds"))
def folds(workspace: WorkspaceOption = HERE) -> None:
    """Assign queries to folds by their text.

    Or rows, where the competition says so. Makes five and ten folds, checks them for leaks and
    shows the labels of each.
    """
    from competition.config.base_recipe import SCHEMES
    from competition.data.folds import shared_with_test
    from competition.pipeline.execute import execute
    from competition.pipeline.steps import Pipeline

    space = Workspace.open(workspace)
    pipeline = Pipeline(space)
    labels = pipeline.plan.contest.labels.names
    steps = {scheme: pipeline.inputs.folds(scheme) for scheme in SCHEMES}
    made = execute(space, steps.values())
    examples = pipeline.tables.examples
    for scheme in steps:
        train = examples.assign(fold=pipeline.tables.fold_of_rows(scheme))[
            examples["split"] == "train"
        ]

        rows = []
        for fold, part in train.groupby("fold"):
            shares = part["label"].value_counts(normalize=True)
            counts = [int(str(fold)), len(part), part["query_id"].nunique()]
            rows.append(
                [*counts, *(OutputCell(float(shares.get(label, 0)), ".3f") for label in labels)]
            )
        show_table(
            f"Folds of scheme {scheme}", ["fold", "rows", "queries", *labels], rows, scheme=scheme
        )

    # A query in both splits is no leak of the folds, but makes scores on test rows optimistic.
    rows_apart = not pipeline.plan.contest.has_queries_apart
    shared = [] if rows_apart else shared_with_test(examples)
    if shared:
        warn(
            f"{pluralize(len(shared), 'training query has', 'training queries have')} the text of a test query; "
            f"the first is query_id {shared[0]}."
        )
    console.print(
        (
            "Each label is spread evenly over the folds."
            if rows_apart
            else "No query text is in two folds."
        )
        + ("" if made else " The files were up to date.")
    )
