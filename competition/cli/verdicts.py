"""The verdict on a workspace, as `comp run`, `comp stack` and `comp status` show it."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, fields
from typing import TYPE_CHECKING

from competition.analysis.diagnoses.diagnosis import Diagnosis, TaskVerdict, Verdict
from competition.cli.output import OutputCell, show_sentences, show_table
from competition.cli.scores import estimate_cell, mark_run
from competition.core.commands import pasteable

if TYPE_CHECKING:
    import pandas as pd

_MOST_RUNS = 5  # in the table of a task
_LONG_NAME = 16  # characters of a run, from which its table leaves out an interval
_MOST_DIAGNOSES = 2


def show_verdict(verdict: Verdict, everything: bool = False) -> None:
    """Show the sentence of each task, what is wrong, and what to do next.

    Args:
        verdict: on the workspace.
        everything: show notes, too, and what to do about each diagnosis.
    """
    rows = [list(asdict(task).values()) for task in verdict.tasks]
    header = [field.name for field in fields(TaskVerdict)]
    show_sentences("Verdict", header, rows, [t.sentence for t in verdict.tasks], next=verdict.next)
    show_diagnoses(verdict, everything)


def show_diagnoses(verdict: Verdict, everything: bool = False) -> None:
    """Show what is wrong, the gravest first, and what to do next; in JSON always all of it."""
    rows = [list(asdict(diagnosis).values()) for diagnosis in verdict.diagnoses]
    header = [field.name for field in fields(Diagnosis)]
    lines = _all_lines if everything else _first_lines
    # What is to be done next need not be said twice.
    others = [each for each in verdict.diagnoses if each.sentence not in verdict.next]
    sentences = [*lines(others), f"Next: {verdict.next}"]
    show_sentences("Diagnoses", header, rows, [pasteable(sentence) for sentence in sentences])


def _all_lines(diagnoses: Iterable[Diagnosis]) -> Iterator[str]:
    for found in diagnoses:
        task = f" {found.task}:" if found.task else ""
        yield f"{found.severity} ({found.code}):{task} {found.sentence} {found.action}".rstrip()


def _first_lines(diagnoses: Iterable[Diagnosis]) -> Iterator[str]:
    """Yield the gravest diagnoses that the sentences of the tasks do not say already; each code once."""
    by_code: dict[str, list[Diagnosis]] = {}
    for found in diagnoses:
        if found.severity != "note" and not _in_the_sentence(found.code):
            by_code.setdefault(found.code, []).append(found)

    for first, *others in list(by_code.values())[:_MOST_DIAGNOSES]:
        # One sentence stands for all tasks.
        tasks = ", ".join(dict.fromkeys(each.task for each in (first, *others) if each.task))
        yield f"{first.severity.capitalize()}: {f'{tasks}: ' if tasks else ''}{first.sentence}"


def _in_the_sentence(code: str) -> bool:
    """Return whether a task's sentence says what a diagnosis says: the place beside a baseline."""
    return code.endswith(("-constant", "-lexical")) and code.split("-")[0] in ("behind", "no")


def show_standing(task: TaskVerdict, board: "pd.DataFrame") -> None:
    """Show the headline of a task, and below it one table of the runs that it speaks of, best first.

    Args:
        task: the verdict on it.
        board: all lines of the scoreboard.
    """
    from competition.scoring.scoreboard import best_first

    place = [board[name] == getattr(task, name) for name in ("task", "split", "group")]
    lines = best_first(board[place[0] & place[1] & place[2]])
    show_sentences("", (), [], [task.headline or task.sentence])
    if lines.empty:
        return

    first = lines.iloc[0]
    kept = {task.best, task.submitted, str(first["floor"])}
    order = sorted(lines.index, key=lambda i: (lines.loc[i, "run"] not in kept, i))[:_MOST_RUNS]
    shown = lines.loc[sorted(order)]

    is_short = max(map(len, shown["run"])) < _LONG_NAME
    rows = [
        [
            mark_run(str(line.run), str(line.basis)),
            line.score,
            estimate_cell(line, "above_baseline", "+")
            if is_short
            else OutputCell(line.above_baseline, "+.4f"),
            estimate_cell(line, "above_floor", "+"),
        ]
        for line in shown.itertuples()
    ]

    header: dict[str, str | None] = {
        "run": "run",
        "score": "score",
        "above_baseline": f"minus {first['baseline']}",
        "above_floor": f"minus {first['floor']}" if first["floor"] else None,
    }
    show_table("", header, rows)
