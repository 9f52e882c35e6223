"""`comp compare`: the paired difference of two runs, with a verdict."""

from typing import TYPE_CHECKING, Annotated

import typer

from competition.cli.app import HERE, WorkspaceOption, app
from competition.cli.options import complete_recipe
from competition.cli.output import OutputCell, help_epilog, show_table
from competition.cli.scores import APPROXIMATE_MARK
from competition.core.console import console
from competition.core.errors import pluralize
from competition.core.workspace import Workspace

if TYPE_CHECKING:
    from competition.analysis.compare import ComparedTask


_WIDEST = 16  # characters of a run's name as a heading


@app.command(epilog=help_epilog("comp compare c1 lexical", "comp compare blend c1"))
def compare(
    first: Annotated[str, typer.Argument(help="A run.", autocompletion=complete_recipe)],
    second: Annotated[
        str, typer.Argument(help="Another, to subtract.", autocompletion=complete_recipe)
    ],
    workspace: WorkspaceOption = HERE,
) -> None:
    """Say whether one run is really better than another.

    Both are scored out-of-fold over the same queries. A fold is a training of its own, so the interval
    over the folds covers the noise of seeds. Runs of the same recipes with other seeds, made by `comp train
    --set seed=1`, are found and make it narrower.
    """
    from competition.analysis.compare import compare_runs

    show_comparison(compare_runs(Workspace.open(workspace), first, second), first, second)


def show_comparison(compared: "list[ComparedTask]", first: str, second: str) -> None:
    """Show the difference of two runs on each task, and what the verdicts consist of."""
    header: dict[str, str | None] = {
        "task": "task",
        "metric": None,
        "verdict": "verdict",
        "queries": "queries",
        "first": first if len(first) <= _WIDEST else "first",
        "second": second if len(second) <= _WIDEST else "second",
        "difference": "difference [95 %]",
        "over_queries": None,
        "noise": None,
        "seed_error": None,
        "seeds": None,
        "label_paths": None,
    }
    rows = [_row(each, (first, second)) for each in compared]
    show_table(f"{first} minus {second}, out-of-fold, all queries", header, rows, left=3)

    for sentence in _explanation(compared, (first, second)):
        console.print(sentence)


def _row(each: "ComparedTask", names: tuple[str, str]) -> list[object]:
    result = each.result
    verdict = "no verdict" if each.better is None else f"{names[each.better]} is better"
    mark = f" {APPROXIMATE_MARK}" if each.label_paths else ""
    return [
        OutputCell(each.task.name, text=f"{each.task.name}, {each.task.metric.label}"),
        each.task.metric.label,
        OutputCell(None if each.better is None else names[each.better], text=verdict + mark),
        result.difference.queries,
        *each.scores,
        OutputCell(result.difference, "+"),
        result.over_queries,
        result.noise,
        result.seed_error,
        [len(runs) for runs in each.runs],
        list(each.label_paths),
    ]


def _explanation(compared: "list[ComparedTask]", names: tuple[str, str]) -> list[str]:
    """Return what the verdicts consist of."""
    runs = compared[0].runs
    counts = " and ".join(
        f"{pluralize(len(each), 'seed')} of {name}" for name, each in zip(names, runs, strict=True)
    )
    if compared[0].result.noise == "seeds":
        noise = f"{counts}: the noise of trainings is what differs between them."
    else:
        noise = f"{counts}: the noise of trainings is taken from the folds, each of which is a training of its own."
        if compared[0].has_seeds:
            noise += " Two or more seeds of both make the interval narrower: `comp train --recipe NAME --set seed=1`."
    sentences = [noise]
    sentences.append(
        "Of twenty pairs that do not differ, one at most gets a verdict on a task. What all trainings share, such as a "
        "pre-trained encoder, is held fixed."
    )
    paths = tuple(dict.fromkeys(path for each in compared for path in each.label_paths))
    if paths:
        sentences.append(
            f"{APPROXIMATE_MARK} approximate: labels reached a score through {'; '.join(paths)}."
        )
    return sentences
